//! Which identity may take which role: deny by default, no prefix, no substring, no free regular expression.

pub mod grant;

/// p
pub struct Policy;
/// c
pub struct Context {
    /// a
    pub address: Option<std::net::IpAddr>,
    /// n
    pub now: jiff::Timestamp,
}
impl Policy {
    /// d
    pub fn digest(&self) -> &str {
        ""
    }
    /// d
    pub fn decide(
        &self,
        _: &crate::identity::Identity,
        _: &str,
        _: &Context,
    ) -> Result<grant::Grant, crate::broker::Refusal> {
        unreachable!()
    }
}
