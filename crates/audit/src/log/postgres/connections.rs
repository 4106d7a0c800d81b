//! Connections to a server that may fall silent.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

/// A pool of connections that can be renewed.
///
/// A connection through which nothing comes back, as after a pulled cable, is one that the pool waits on for as long as
/// the operating system does, a quarter of an hour or more; each call given up leaves one of those behind, until none
/// is left to hand out. Whoever gives up on a call therefore says so with [`renew`](Connections::renew): the next call
/// gets a new connection.
#[derive(Debug)]
pub struct Connections {
    pool: PgPoolOptions,
    server: PgConnectOptions,
    current: RwLock<(u64, PgPool)>,
}

impl Connections {
    /// Connects when the first call needs it. Must be called inside a runtime.
    pub fn new(pool: PgPoolOptions, server: PgConnectOptions) -> Connections {
        let first = pool.clone().connect_lazy_with(server.clone());
        Connections { pool, server, current: RwLock::new((0, first)) }
    }

    /// The pool to use for the next call.
    pub fn pool(&self) -> PgPool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// How often the pool was renewed; to be asked before a call that may be given up.
    pub fn generation(&self) -> u64 {
        self.current.read().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Leaves all connections of this generation to themselves. Does nothing when somebody else did so before. Must be
    /// called inside a runtime.
    pub fn renew(&self, generation: u64) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.0 == generation {
            *current = (generation + 1, self.pool.clone().connect_lazy_with(self.server.clone()));
        }
    }

    /// Waits for a call for so long, and renews the pool if that was not enough: then the answer is `None`.
    pub async fn within<T>(&self, limit: Duration, call: impl Future<Output = T>) -> Option<T> {
        let generation = self.generation();
        let answered = tokio::time::timeout(limit, call).await.ok();
        if answered.is_none() {
            self.renew(generation);
        }
        answered
    }

    /// Closes what is open.
    pub async fn close(&self) {
        self.pool().close().await;
    }
}
