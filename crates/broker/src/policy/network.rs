//! Networks that a caller's address may have to be in.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

/// A network in CIDR form, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub IpNet);

impl Network {
    /// Whether the address lies in it. `::ffff:10.0.0.1` is what a dual-stack socket makes of 10.0.0.1.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Network(address.into()));
        }
        let net: IpNet =
            text.parse().map_err(|_| "not a network; write `10.0.0.0/8` or `2001:db8::/32`".to_owned())?;
        if net.trunc() != net {
            return Err(format!("bits are set behind the prefix; did you mean `{}`?", net.trunc()));
        }
        Ok(Network(net))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Network {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "A network: 10.0.0.0/8.", "examples": ["10.0.0.0/8"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_clear_is_taken() {
        let net = |text: &str| text.parse::<Network>();
        assert!(net("10.0.0.0/8").is_ok_and(|it| it.contains(IpAddr::from([10, 1, 2, 3]))));
        assert!(net("192.0.2.7").is_ok_and(|it| !it.contains(IpAddr::from([192, 0, 2, 8]))));
        assert!(net("10.0.0.5/8").is_err_and(|e| e.contains("10.0.0.0/8")));
        for wrong in ["", "10.0.0.0/33", "10.0.0", "example.org", "0.0.0.0/0 ", "*"] {
            assert!(net(wrong).is_err(), "{wrong}");
        }
    }
}
