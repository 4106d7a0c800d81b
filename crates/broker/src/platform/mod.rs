//! What each CI's tokens say and how a job gets one: one file per platform, one line in [`PLATFORMS`].
//!
//! The broker asks a platform about verified claims: which of them can never name somebody else, which an author
//! chooses, whether the subject agrees with the rest, whether a stranger may be behind the run. The client asks it
//! whether it runs there and for the job's token. A platform holds no state and decides nothing.

mod answer;
pub mod azure_devops;
pub mod bitbucket;
pub mod buildkite;
pub mod circleci;
pub mod env;
pub mod forgejo;
pub mod generic;
pub mod github;
pub mod gitlab;
pub mod google;
pub mod hazard;
pub mod jenkins;
pub mod kubernetes;
pub mod spiffe;
pub mod subject;
pub mod terraform;

use std::fmt;

use async_trait::async_trait;
use claviger_audit::event::Who;

pub use self::env::{Env, TokenError};
pub use self::hazard::Hazard;
pub use self::subject::{Mismatch, Subject};
use crate::claims::Claims;
use crate::fetch::Fetch;
use crate::secret::Secret;
use crate::ttl::Ttl;

/// Claims that together name one thing for ever: ids that are never given to anybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The claims; a role is bound if it gives an exact value to each.
    pub claims: &'static [&'static str],
    /// How much of the platform that lets in.
    pub reach: Reach,
}

/// How much a [`Binding`] lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// One repository, project, pipeline, workspace or service account.
    Project,
    /// Everything of one owner, group, organisation or namespace.
    Owner,
}

/// A CI or other source of identities.
#[async_trait]
pub trait Platform: fmt::Debug + Send + Sync {
    /// Its name in configuration: `github`, `gitlab`, ...
    fn name(&self) -> &'static str;

    /// What it is, in half a line for the help.
    fn about(&self) -> &'static str;

    /// Its issuer, if there is one for everybody; otherwise the configuration must say it.
    fn issuer(&self) -> Option<&'static str> {
        None
    }

    /// The longest time from `iat` to `exp` that is accepted when the configuration does not say.
    fn max_life(&self) -> Ttl {
        Ttl::minutes(60)
    }

    /// Hosts that may serve the keys besides the issuer's own.
    fn jwks_hosts(&self) -> &'static [&'static str] {
        &[]
    }

    /// What a role can bind to: it must give exact values to all claims of at least one of these. Narrowest first.
    fn immutable_claims(&self) -> &'static [Binding];

    /// Claims that the author of a change or of a pipeline definition chooses. A role may use them to narrow, and the
    /// lint says that they protect nothing by themselves.
    fn authored_claims(&self) -> &'static [&'static str] {
        &[]
    }

    /// Claims that say that somebody with more rights than an author agreed: protected branches, environments. A role
    /// that binds a branch should want one of them.
    fn protection_claims(&self) -> &'static [&'static str] {
        &[]
    }

    /// Takes the subject apart and holds it against the other claims.
    ///
    /// A subject in a form that the platform lets its users define gives [`Subject::Custom`]: nothing is known of it,
    /// and it is not an error, as policies use the claims.
    ///
    /// # Errors
    /// The subject says something else than the claims, or claims that the platform always gives are missing: the
    /// token is refused.
    fn subject<'a>(&self, claims: &'a Claims) -> Result<Subject<'a>, Mismatch>;

    /// Why a stranger may be behind this token. Empty for most.
    fn hazards(&self, _: &Claims) -> Vec<Hazard> {
        Vec::new()
    }

    /// Who a token speaks of, in the audit log's words, without issuer and subject.
    fn who(&self, claims: &Claims) -> Who;

    /// The id of the run, unique within the issuer: what "all leases of this run" means. Attempts of one run share it.
    fn run_id(&self, claims: &Claims) -> Option<String> {
        self.who(claims).run_id
    }

    /// Whether a job with this environment runs there.
    fn detect(&self, env: &dyn Env) -> bool;

    /// Whether each [`token`](Platform::token) is a new one. Where it is not, a refused token stays refused.
    fn is_fresh(&self) -> bool {
        true
    }

    /// Gets the job's token for `audience`.
    ///
    /// # Errors
    /// See [`TokenError`]; the text says what the job's author must write.
    async fn token(&self, env: &dyn Env, audience: &str, http: &Fetch) -> Result<Secret, TokenError>;
}

/// Every platform, in the order in which they are looked for: the surest signs first.
pub static PLATFORMS: &[&dyn Platform] = &[
    // It sets GitHub's variables too.
    &forgejo::FORGEJO,
    &github::GITHUB,
    &gitlab::GITLAB,
    &circleci::CIRCLECI,
    &buildkite::BUILDKITE,
    &bitbucket::BITBUCKET,
    &azure_devops::AZURE_DEVOPS,
    &terraform::TERRAFORM,
    &jenkins::JENKINS,
    &spiffe::SPIFFE,
    // Jobs of all of the above may run in a cluster or on Google's machines, and name a file of their own.
    &kubernetes::KUBERNETES,
    &generic::GENERIC,
    &google::GOOGLE,
];

/// The platform of this name.
pub fn by_name(name: &str) -> Option<&'static dyn Platform> {
    PLATFORMS.iter().copied().find(|platform| platform.name() == name)
}

/// The platform that a job with this environment runs on.
pub fn detect(env: &dyn Env) -> Option<&'static dyn Platform> {
    PLATFORMS.iter().copied().find(|platform| platform.detect(env))
}

#[cfg(test)]
mod tests;
