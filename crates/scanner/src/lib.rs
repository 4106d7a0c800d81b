//! Finds hardcoded secrets in files, staged changes and git histories.
//!
//! ```text
//! source -> blob -> prefilter -> candidate window -> rule -> checks -> finding -> attribution -> reporter
//! ```
//!
//! [`source`] hands out bytes and says where they came from; [`engine`] finds secrets in bytes and knows nothing of
//! files; [`triage`] decides which findings a user has dealt with; [`report`] writes them down. Nothing here prints,
//! reads flags or environment, or ends the process: the command line does.

pub mod check;
pub mod coverage;
pub mod engine;
pub mod finding;
pub mod fingerprint;
pub mod path;
pub mod report;
pub mod rule;
pub mod scan;
pub mod secret;
pub mod source;
pub mod triage;
