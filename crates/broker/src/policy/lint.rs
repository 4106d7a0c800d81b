//! Remarks on a policy that is valid and may still be unwise.

/// A kind of remark.
#[derive(Debug, Clone, Copy)]
pub struct Lint {
    /// Its id, for `accept` in a role.
    pub id: &'static str,
    /// What it is about, in one sentence.
    pub about: &'static str,
}

/// Every kind of remark, in the order the help lists them.
pub static LINTS: &[Lint] =
    &[Lint { id: "wildcard-reach", about: "a pattern or a binding reaches over more than one repository" }];

/// The kind of remark with this id.
pub fn about(id: &str) -> Option<&'static Lint> {
    LINTS.iter().find(|lint| lint.id == id)
}
