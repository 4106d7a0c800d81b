//! Process-wide settings of libgit2. The one place of this crate with unsafe code.

use std::sync::Once;

use git2::{ConfigLevel, opts};

static SETTINGS: Once = Once::new();

/// Makes libgit2 a reader of objects and nothing else. Every way to open a repository calls it first.
///
/// - No owner check: a container scans a checkout of another user every day, and nothing of such a repository is
///   run, which is what the check guards against.
/// - No configuration of system or user: a scan gives the same on every machine.
/// - No object cache: every object is read once, caching them all would only fill the memory.
/// - No hash check on reading: zlib's own checksum finds damage, and hashing twice the history costs seconds.
#[expect(unsafe_code, reason = "libgit2's global options have no safe interface")]
pub(super) fn once() {
    SETTINGS.call_once(|| {
        // SAFETY: these calls change global state and must not run beside others that read it. `Once` lets a single
        // thread in and holds back all others that want to open a repository through this crate.
        unsafe {
            // They fail only for unknown options, which these are not; without them a scan is still right.
            let _ = opts::set_verify_owner_validation(false);
            for level in
                [ConfigLevel::ProgramData, ConfigLevel::System, ConfigLevel::XDG, ConfigLevel::Global]
            {
                let _ = opts::set_search_path(level, "");
            }
        }
        opts::enable_caching(false);
        opts::strict_hash_verification(false);
    });
}
