//! End-to-end tests: the built binary against real files and repositories made by the real git.

mod audit;
mod audit_places;
mod audit_trust;
mod audit_wire;
mod bad_input;
mod broker;
mod change;
mod command;
mod formats;
mod fuzz;
mod history;
mod hooks;
mod lease;
mod policy;
mod readme;
mod replicas;
mod selection;
mod sweep;
mod triage;
