//! A transparency log of who held which credential, and the questions asked of it.
//!
//! ```text
//! event -> recorder -> log (journal: one sync per batch -> tiles) -> verify / query / report
//! ```
//!
//! [`recorder`] writes [`event`]s into a [`log`]; an append returns when the event is durable, with a [`receipt`] that
//! anybody can check offline. The log is a Merkle [`tree`] in the C2SP formats, so that other people's tools can read
//! and verify it: bundles and tiles as files, a signed [`checkpoint`] as a [`note`].
//! [`verify`] recomputes everything and names the first thing that is wrong; a [`pin`] and [`witness`]es keep heads
//! where the log's operator cannot reach them. [`reader`], [`query`] and [`report`] answer.
//!
//! Nothing here prints, reads flags or environment, or ends the process; the clock is an argument; no secret is ever in
//! an event, only its keyed fingerprint.

#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod clock;
pub mod event;
pub mod export;
pub mod files;
mod journal;
pub mod log;
pub mod note;
pub mod pin;
mod publish;
pub mod query;
pub mod reader;
pub mod receipt;
pub mod recorder;
pub mod report;
pub mod serve;
pub mod tree;
pub mod verify;
pub mod witness;
