//! What an operator asks of a broker: look at everybody's leases, revoke them, hold back.
//!
//! Answers are handed on as the broker gave them, so that a newer broker's members are not lost.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Broker, BrokerError};
use crate::fetch::percent;
use crate::secret::Secret;
use crate::server::operator::Selection;

/// Leases of one answer: far below what a client reads, however long their names are.
const PAGE: u32 = 200;

/// An operator at a broker.
pub struct Operator {
    broker: Broker,
    token: Secret,
}

/// What a revocation did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Revoked {
    /// The leases that are being revoked now.
    pub leases: Vec<String>,
    /// The hold's id, if something is held back.
    #[serde(default)]
    pub hold: Option<String>,
}

impl Operator {
    /// The operator whom this token belongs to.
    pub fn new(broker: Broker, token: Secret) -> Operator {
        Operator { broker, token }
    }

    /// Leases of the selection, newest first, `most` at most. Ids are not looked at: see [`lease`](Operator::lease).
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn leases(&self, selection: &Selection, most: usize) -> Result<Vec<Value>, BrokerError> {
        let (mut leases, mut after): (Vec<Value>, Option<String>) = (Vec::new(), None);
        while leases.len() < most {
            let wanted = u32::try_from(most - leases.len()).unwrap_or(PAGE).min(PAGE);
            let mut page: Value =
                self.call(Method::GET, &path(selection, after.as_deref(), wanted), None).await?;
            let Value::Array(found) = page["leases"].take() else {
                return Err(BrokerError::Strange("its answer has no list of leases".into()));
            };
            leases.extend(found);
            match page["next"].take() {
                Value::String(next) if after.as_deref() != Some(next.as_str()) => after = Some(next),
                _ => break,
            }
        }
        leases.truncate(most);
        Ok(leases)
    }

    /// One lease.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn lease(&self, id: &str) -> Result<Value, BrokerError> {
        self.call(Method::GET, &format!("v1/operator/leases/{}", segment(id)), None).await
    }

    /// Revokes the leases of the selection. With a hold, nothing new is issued for it either.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn revoke(
        &self,
        selection: &Selection,
        hold: Option<&HoldBack>,
    ) -> Result<Revoked, BrokerError> {
        let mut body = json!({ "select": selection });
        if let Some(hold) = hold {
            body["hold"] = true.into();
            body["hold_for"] = hold.how_long.clone().into();
            body["reason"] = hold.reason.clone().into();
        }
        self.call(Method::POST, "v1/operator/revoke", Some(&body)).await
    }

    /// The holds that stand.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn holds(&self) -> Result<Vec<Value>, BrokerError> {
        self.call(Method::GET, "v1/operator/holds", None).await
    }

    /// Ends a hold.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn release(&self, id: &str) -> Result<(), BrokerError> {
        self.call(Method::DELETE, &format!("v1/operator/holds/{}", segment(id)), None).await
    }

    pub(super) async fn call<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, BrokerError> {
        self.broker.operate(method, path, &self.token, body).await
    }
}

/// What is said with a hold.
#[derive(Debug, Clone, Default)]
pub struct HoldBack {
    /// Why; those who are refused read it.
    pub reason: String,
    /// `1h`; until it is released, if absent.
    pub how_long: Option<String>,
}

/// A text as one segment of a path.
fn segment(text: &str) -> String {
    // `.` and `..` are taken out of paths by clients and servers alike.
    if text.bytes().all(|byte| byte == b'.') { text.replace('.', "%2E") } else { percent(text) }
}

fn path(selection: &Selection, after: Option<&str>, limit: u32) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let members = [
        ("state", &selection.state),
        ("issuer", &selection.issuer),
        ("run", &selection.run),
        ("repository", &selection.repository),
        ("role", &selection.role),
        ("provider", &selection.provider),
        ("environment", &selection.environment),
        ("since", &selection.since),
    ];
    for (name, value) in members {
        query.extend_pairs(value.as_ref().map(|value| (name, value)));
    }
    query.extend_pairs(after.map(|after| ("after", after)));
    query.append_pair("limit", &limit.to_string());
    format!("v1/operator/leases?{}", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_a_path() {
        let cases = [
            ("abc-1", "abc-1"),
            ("../x", "..%2Fx"),
            ("..", "%2E%2E"),
            ("a?b#c", "a%3Fb%23c"),
            ("ä", "%C3%A4"),
        ];
        for (text, wanted) in cases {
            assert_eq!(segment(text), wanted);
        }
        let selection = Selection { run: Some("1&role=x".into()), ..Selection::default() };
        assert_eq!(path(&selection, None, 5), "v1/operator/leases?run=1%26role%3Dx&limit=5");
    }
}
