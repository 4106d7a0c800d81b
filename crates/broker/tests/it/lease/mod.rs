//! How leases end: the reaper, the watch, the sweep and ends of jobs, with targets that fail.

mod bed;
mod day;
mod job_end;
mod reaper;
mod replicas;
mod sweep;
