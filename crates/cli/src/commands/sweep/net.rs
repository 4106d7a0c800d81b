//! The runtime that waits for the network and the state's file; threads of our own call into it.

use std::sync::OnceLock;

use anyhow::Context as _;
use tokio::runtime::Runtime;

pub(super) fn runtime() -> anyhow::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().ok()
    });
    made.as_ref().context("no thread for the network")
}
