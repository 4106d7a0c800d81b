//! A transparency log of who held which credential, and the questions asked of it.

pub mod checkpoint;
pub mod clock;
pub mod event;
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
pub mod tree;
pub mod verify;
