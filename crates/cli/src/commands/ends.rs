//! The signals that end a service.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Catches a signal from here on.
pub(crate) fn catch(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot catch signals")
}

/// An interrupt at the terminal, and the word of a service manager.
pub(crate) struct Ends {
    interrupt: Signal,
    terminate: Signal,
}

impl Ends {
    pub(crate) fn new() -> anyhow::Result<Ends> {
        Ok(Ends { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Waits for one of them.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
