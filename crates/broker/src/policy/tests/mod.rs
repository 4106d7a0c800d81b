//! Tests of the policy, each named after what it refuses.

mod attacks;
mod delegated;
mod explained;
mod lints;
mod naive;
mod random;
mod support;
