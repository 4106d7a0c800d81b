//! A transparency log of who held which credential, and the questions asked of it.

pub mod checkpoint;
pub mod note;
pub mod receipt;
pub mod tree;
