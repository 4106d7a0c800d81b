//! How many requests an address or an identity may make: a bucket for each, bounded in number.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Refusal, RefusalKind};

/// Addresses or identities that are remembered at once.
pub(crate) const REMEMBERED: usize = 100_000;

/// So many requests at once, and so many a second after that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// At once.
    pub burst: f64,
    /// A second.
    pub per_second: f64,
}

impl Default for Rate {
    /// A hundred at once and ten a second: no repository needs more, and one that runs wild is stopped.
    fn default() -> Rate {
        Rate { burst: 100.0, per_second: 10.0 }
    }
}

/// The refusal of somebody who asks too often.
pub(crate) fn slower(who: &str, wait: Duration) -> Refusal {
    let message = format!("too many requests of {who}; try again in {} s", wait.as_secs() + 1);
    Refusal::new(RefusalKind::Limited, "rate", message)
}

/// Buckets by key. When there are too many, full ones go first: they say the same as none.
pub(crate) struct Buckets<K> {
    rate: Rate,
    most: usize,
    buckets: Mutex<HashMap<K, Bucket>>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn fill(&mut self, rate: Rate, now: Instant) {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * rate.per_second;
        self.tokens = (self.tokens + gained).min(rate.burst);
        self.filled = now;
    }
}

impl<K: Hash + Eq> Buckets<K> {
    pub(crate) fn new(rate: Rate, most: usize) -> Buckets<K> {
        Buckets { rate, most, buckets: Mutex::new(HashMap::new()) }
    }

    /// Takes one request out of the key's bucket; how long to wait, if it is empty.
    pub(crate) fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= self.most && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| {
                bucket.fill(self.rate, now);
                bucket.tokens < self.rate.burst
            });
            // All of them are in use: an attack from many addresses. Nobody is remembered for it.
            if buckets.len() >= self.most {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { tokens: self.rate.burst, filled: now });
        bucket.fill(self.rate, now);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64(((1.0 - bucket.tokens) / self.rate.per_second).clamp(0.001, 3600.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3.0, per_second: 2.0 };

    #[test]
    fn a_burst_and_then_a_rate() {
        let buckets = Buckets::new(RATE, 100);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(buckets.take("a", start), Ok(()));
        }
        assert_eq!(buckets.take("a", start), Err(Duration::from_millis(500)));
        assert_eq!(buckets.take("b", start), Ok(()), "others are not held back");
        assert_eq!(buckets.take("a", start + Duration::from_millis(600)), Ok(()));
    }

    #[test]
    fn many_keys_take_bounded_memory() {
        let buckets = Buckets::new(RATE, 100);
        let start = Instant::now();
        for key in 0..10_000 {
            assert_eq!(buckets.take(key, start), Ok(()));
        }
        assert!(buckets.buckets.lock().expect("not poisoned").len() <= 100);
    }
}
