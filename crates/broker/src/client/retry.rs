//! Tries, and when to stop.

use std::time::{Duration, Instant};

use super::{Broker, BrokerError, Wish};
use crate::fetch::Fetch;
use crate::platform::{Env, Platform, TokenError};
use crate::secret;
use crate::secret::Secret;
use crate::server::wire::ReceivedExchange;

/// How long to go on trying.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// In all.
    pub total: Duration,
    /// Before the second try; doubles with each, with jitter.
    pub first: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { total: Duration::from_secs(30), first: Duration::from_millis(250) }
    }
}

/// Why an exchange did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The CI gave no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The broker gave no credential.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl ExchangeError {
    fn is_passing(&self) -> bool {
        match self {
            ExchangeError::Token(error) => error.is_transient(),
            ExchangeError::Broker(error) => error.is_passing(),
        }
    }
}

/// Gets a token and exchanges it; tries again while that may help, each time with a fresh token.
///
/// # Errors
/// The last try's.
pub async fn exchange(
    broker: &Broker,
    platform: &dyn Platform,
    env: &dyn Env,
    http: &Fetch,
    audience: &str,
    wish: &Wish,
    patience: Patience,
) -> Result<ReceivedExchange, ExchangeError> {
    let started = Instant::now();
    let mut pause = patience.first;
    loop {
        let error = match attempt(broker, platform, env, http, audience, wish).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        // The token may have been used up by a try whose answer was lost: only a fresh one can succeed.
        let helps = error.is_passing() && (platform.is_fresh() || matches!(error, ExchangeError::Token(_)));
        if !helps || started.elapsed() + pause > patience.total {
            return Err(error);
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = pause.saturating_mul(2);
    }
}

async fn attempt(
    broker: &Broker,
    platform: &dyn Platform,
    env: &dyn Env,
    http: &Fetch,
    audience: &str,
    wish: &Wish,
) -> Result<ReceivedExchange, ExchangeError> {
    let token = platform.token(env, audience, http).await?;
    let target: Option<Secret> = match &wish.target_audience {
        Some(audience) => Some(platform.token(env, audience, http).await?),
        None => None,
    };
    Ok(broker.exchange(wish, &token, target.as_ref()).await?)
}

/// Between half and all of it: jobs of one matrix do not come back at the same instant.
fn jittered(pause: Duration) -> Duration {
    let [byte] = secret::random::<1>();
    pause / 2 + pause * u32::from(byte) / 510
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_in_its_bounds() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_secs(1));
            assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&pause), "{pause:?}");
        }
    }
}
