//! rejection.
