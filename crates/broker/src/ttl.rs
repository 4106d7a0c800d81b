//! Lengths of time in configuration: `90s`, `15m`, `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long something lives: whole seconds, from 1 to ten years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(u32);

/// Ten years: longer than any credential should live, and far from overflow.
const MAX_S: u32 = 10 * 366 * 86_400;

/// A length of time that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a length of time from 1s to ten years; write `90s`, `15m` or `1h30m`")]
pub struct TtlError(String);

impl Ttl {
    /// So many seconds; `None` outside the bounds.
    pub const fn from_secs(seconds: u64) -> Option<Ttl> {
        if seconds == 0 || seconds > MAX_S as u64 { None } else { Some(Ttl(seconds as u32)) }
    }

    /// So many minutes, for constants.
    ///
    /// # Panics
    /// Outside the bounds; in a constant that fails the build.
    pub const fn minutes(minutes: u32) -> Ttl {
        match Ttl::from_secs(minutes as u64 * 60) {
            Some(ttl) => ttl,
            None => panic!("a length of time from one minute to ten years"),
        }
    }

    /// In seconds.
    pub const fn seconds(self) -> u64 {
        self.0 as u64
    }

    /// As the standard library's duration.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.seconds())
    }

    /// The instant this long after `start`; the end of time if that is later.
    pub fn after(self, start: Timestamp) -> Timestamp {
        start.checked_add(SignedDuration::from_secs(i64::from(self.0))).unwrap_or(Timestamp::MAX)
    }

    /// From `start` to `end`, rounded down to seconds; `None` when that is under a second.
    pub fn between(start: Timestamp, end: Timestamp) -> Option<Ttl> {
        let seconds = end.duration_since(start).as_secs();
        Ttl::from_secs(u64::try_from(seconds).ok()?.min(u64::from(MAX_S)))
    }
}

impl FromStr for Ttl {
    type Err = TtlError;

    fn from_str(text: &str) -> Result<Ttl, TtlError> {
        let wrong = || TtlError(text.chars().take(40).collect());
        let parsed: SignedDuration = text.parse().map_err(|_| wrong())?;
        if parsed.subsec_nanos() != 0 {
            return Err(wrong());
        }
        u64::try_from(parsed.as_secs()).ok().and_then(Ttl::from_secs).ok_or_else(wrong)
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes, seconds) = (self.0 / 3600, self.0 / 60 % 60, self.0 % 60);
        for (number, unit) in [(hours, 'h'), (minutes, 'm'), (seconds, 's')] {
            if number > 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Ttl, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Ttl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for Ttl {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Ttl".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A length of time: 90s, 15m, 1h30m.",
            "examples": ["15m"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h30m", 5400), ("24h", 86_400)] {
            let ttl: Ttl = text.parse().expect(text);
            assert_eq!(ttl.seconds(), seconds);
            assert_eq!(ttl.to_string().parse(), Ok(ttl));
        }
        for bad in ["", "0s", "-5m", "15", "1.5s", "x", "200000h", "15 parsecs"] {
            assert!(bad.parse::<Ttl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn never_overflows() {
        let ttl: Ttl = "87000h".parse().expect("under ten years");
        assert_eq!(ttl.after(Timestamp::MAX), Timestamp::MAX);
        assert_eq!(Ttl::between(Timestamp::MAX, Timestamp::MIN), None);
    }
}
