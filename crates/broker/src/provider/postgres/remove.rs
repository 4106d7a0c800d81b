//! Removing a user: locked out, its sessions ended, what it owns handed over, dropped, and looked for once more.

use std::sync::PoisonError;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::errors::{classify, code};
use super::settings::{Parameters, RoleName};
use super::{Postgres, column, sql};
use crate::provider::database::own;
use crate::provider::database::pool::{Failure, run_apart};
use crate::provider::{Held, ProviderError};

/// How long a dropped role's sessions are looked for in later sweeps, in seconds. A login that passed the server's
/// check before its role was locked out shows as a session within milliseconds; a starved server may take longer.
const LOOK_AGAIN_S: i64 = 120;
/// Dropped roles that are looked for at most.
const LOOK_AGAIN: usize = 256;
/// How often a sweep is repeated while it still meets sessions, and the pause between.
const SWEEPS: usize = 10;
const PAUSE: Duration = Duration::from_millis(50);

impl Postgres {
    /// Removes a user, whatever is left of it.
    ///
    /// # Errors
    /// See [`ProviderError`]. Every step may be repeated.
    pub(super) async fn remove(&self, held: &Held<'_>) -> Result<(), ProviderError> {
        let name = own(held.name)?;
        let known = held.reference.and_then(|it| it.expose_text()).and_then(|oid| oid.parse().ok());
        let seen = match self.pool.run(&sql::remove(name)).await {
            Err(failure) if failure.is(&[code::DEPENDENT_OBJECTS]) => {
                self.hand_over(name, held).await?;
                self.dropped_oid(self.pool.run(&sql::remove(name)).await)?
            }
            done => self.dropped_oid(done)?,
        };
        self.remember(held.now, seen.or(known));
        self.sweep(name, held.now).await
    }

    /// The oid of the role that was dropped; none if there was no role.
    fn dropped_oid(
        &self,
        done: Result<Vec<sqlx::postgres::PgRow>, Failure>,
    ) -> Result<Option<u32>, ProviderError> {
        match done {
            Ok(rows) => {
                Ok(rows.first().map(|row| column(row, 0)).transpose()?.and_then(|oid| oid.parse().ok()))
            }
            // It was dropped before, or never made.
            Err(failure) if failure.is(&[code::UNDEFINED_OBJECT]) => Ok(None),
            Err(failure) => Err(classify(failure, "removing the user")),
        }
    }

    /// Ends sessions whose role is gone, until none shows, and makes sure that it is gone.
    async fn sweep(&self, name: &str, now: Timestamp) -> Result<(), ProviderError> {
        let oids = self.lately_dropped(now);
        for _ in 0..SWEEPS {
            let rows = self.pool.run(&sql::sweep(name, &oids)).await;
            let rows = rows.map_err(|failure| classify(failure, "ending the user's sessions"))?;
            let left: Result<Vec<String>, _> = rows.iter().map(|row| column(row, 0)).collect();
            let left = left?;
            if left.iter().any(|what| what == "role") {
                return Err(ProviderError::Transient("the user is there again".into()));
            }
            if left.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(ProviderError::Transient("sessions of the user do not end".into()))
    }

    fn remember(&self, now: Timestamp, oid: Option<u32>) {
        let Some(oid) = oid else { return };
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        if dropped.len() == LOOK_AGAIN {
            dropped.pop_front();
        }
        dropped.push_back((now, oid));
    }

    fn lately_dropped(&self, now: Timestamp) -> Vec<u32> {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = now.saturating_sub(SignedDuration::from_secs(LOOK_AGAIN_S)).unwrap_or(Timestamp::MIN);
        dropped.retain(|(when, _)| *when >= oldest);
        dropped.iter().map(|(_, oid)| *oid).collect()
    }

    /// Gives what the user owns to another role, in every database where something depends on the user.
    async fn hand_over(&self, name: &str, held: &Held<'_>) -> Result<(), ProviderError> {
        let _one = self.handing_over.lock().await;
        let owner = self.heir(held)?;
        let rows = self.pool.run(&sql::databases_with(name)).await;
        let rows = rows.map_err(|failure| classify(failure, "looking for what the user owns"))?;
        for row in &rows {
            let (database, version) = (column(row, 0)?, column(row, 1)?);
            let statements = sql::hand_over(name, owner.as_ref(), version.parse().unwrap_or_default());
            let done = if database.is_empty() {
                self.pool.run(&statements).await
            } else {
                let options = self.options.clone().database(&database);
                run_apart::<sqlx::PgConnection>(&options, &statements, self.answer).await
            };
            done.map_err(|failure| {
                let (owner, me) = (sql::identifier(owner.as_ref()), sql::identifier(&self.server.user));
                let hint = if failure.is(&["42501"]) {
                    format!("; as an administrator run: GRANT {owner} TO {me}, and let {owner} create in the schemas")
                } else {
                    String::new()
                };
                let doing = format!("handing over to {owner} what the user owns in database `{database}`{hint}");
                classify(failure, &doing)
            })?;
        }
        Ok(())
    }

    /// Who gets what the user owns.
    fn heir(&self, held: &Held<'_>) -> Result<RoleName, ProviderError> {
        if let Some(owner) = &self.settings.owner {
            return Ok(owner.clone());
        }
        // The lease's own parameters, not under today's `roles`: those may have changed since.
        let parameters = Parameters::read(held.parameters, None)
            .map_err(|e| ProviderError::Misconfigured(format!("{e}; set the provider's `owner`")))?;
        let first = parameters.acts_as().or(parameters.member_of.first());
        first.cloned().ok_or_else(|| ProviderError::Misconfigured("set the provider's `owner`".into()))
    }
}
