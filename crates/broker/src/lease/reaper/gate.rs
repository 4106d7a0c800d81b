//! How many leases of one provider are worked on at once, and fewer when its target does not answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Failures in a row after which a target counts as down.
const PATIENCE: u32 = 3;
/// The longest pause between two tries of a target that is down. With a call's time limit it bounds how long after its
/// return a target is found to be back.
const LONGEST: Duration = Duration::from_secs(15);

/// What an attempt says about the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answered.
    Up,
    /// It did not, or could not do anything.
    Down,
    /// It was not asked.
    Nothing,
}

/// One provider's gate; a reaper's own.
pub(super) struct Gate {
    calls: Arc<Semaphore>,
    /// Leases in work.
    running: u32,
    /// Failures in a row.
    failures: u32,
    /// When a target that is down is tried next.
    next: Instant,
}

impl Gate {
    pub(super) fn new(concurrency: u32) -> Gate {
        let calls = Arc::new(Semaphore::new(concurrency.max(1) as usize));
        Gate { calls, running: 0, failures: 0, next: Instant::now() }
    }

    /// The places for calls.
    pub(super) fn calls(&self) -> Arc<Semaphore> {
        Arc::clone(&self.calls)
    }

    pub(super) fn is_shut(&self) -> bool {
        self.failures >= PATIENCE
    }

    /// How many more leases may be taken, of `most` at once.
    pub(super) fn room(&self, most: u32) -> u32 {
        if !self.is_shut() {
            return most.saturating_sub(self.running);
        }
        u32::from(self.running == 0 && Instant::now() >= self.next)
    }

    pub(super) fn began(&mut self) {
        self.running += 1;
    }

    /// `count` leases are done with. Says whether the target has just come back.
    pub(super) fn ended(&mut self, count: usize, verdict: Verdict) -> bool {
        self.running = self.running.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        match verdict {
            Verdict::Nothing => false,
            Verdict::Up => {
                let was_shut = self.is_shut();
                self.failures = 0;
                was_shut
            }
            Verdict::Down => {
                self.failures = self.failures.saturating_add(1);
                let doubled = self.failures.saturating_sub(PATIENCE).min(8);
                let pause = Duration::from_secs(1 << doubled).min(LONGEST);
                self.next = Instant::now() + pause;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_target_that_is_down_gets_one_try_at_a_time() {
        let mut gate = Gate::new(4);
        assert_eq!(gate.room(4), 4);
        for _ in 0..4 {
            gate.began();
        }
        assert_eq!(gate.room(4), 0);
        for _ in 0..3 {
            assert!(!gate.ended(1, Verdict::Down));
        }
        // One is still running.
        assert!(gate.is_shut() && gate.room(4) == 0);
        gate.ended(1, Verdict::Down);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let start = Instant::now();
            while gate.room(4) == 0 {
                tokio::time::advance(Duration::from_millis(100)).await;
            }
            pauses.push((Instant::now() - start).as_secs());
            gate.began();
            assert_eq!(gate.room(4), 0);
            gate.ended(1, Verdict::Down);
        }
        assert_eq!(pauses, [2, 4, 8, 15, 15, 15]);
        tokio::time::advance(LONGEST).await;
        gate.began();
        assert!(gate.ended(1, Verdict::Up), "it is back");
        assert_eq!(gate.room(4), 4);
        gate.began();
        assert!(!gate.ended(1, Verdict::Up));
    }
}
