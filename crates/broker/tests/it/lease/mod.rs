//! How leases end: the reaper, the watch, the sweep and ends of jobs, with targets that fail.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on may panic; a skip says why"
)]

mod bed;
mod day;
mod job_end;
mod ledger;
mod reaper;
mod replicas;
mod sweep;
