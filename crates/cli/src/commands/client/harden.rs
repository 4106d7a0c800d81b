//! Keeps a process that holds credentials from being looked into: no core dumps, no reading of its memory by other
//! processes of the same user, no swapping out where that is allowed.

/// Does what the system offers; what it refuses (a limit on locked memory, most often) is no reason not to work. What a
/// child inherits is not touched.
pub(crate) fn harden() {
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{MlockAllFlags, mlockall};
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // Without dumps, `/proc/PID/mem` and `environ` are closed to others too.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT);
    }
}
