//! Turns a CI job's identity into a credential that expires.
