//! `claviger lease ...`.

use anyhow::{Context as _, bail};
use claviger_broker::client::BrokerError;
use claviger_broker::client::operator::{HoldBack, Operator, Revoked};
use claviger_broker::server::operator::Selection;
use claviger_broker::ttl::Ttl;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{cell, confirm, desk, print_list};
use crate::Outcome;
use crate::args_operator::{
    Lease, LeaseHold, LeaseHolds, LeaseList, LeaseRelease, LeaseRevoke, LeaseShow, LeaseVerb, Which, Whose,
};
use crate::commands::broker::table;
use crate::commands::client::runtime;
use crate::commands::print;

/// The most leases that are counted before a revocation; beyond it is said that there are more.
const COUNTED: usize = 10_000;

const COLUMNS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("state", "/state"),
    ("role", "/role"),
    ("provider", "/provider"),
    ("environment", "/environment"),
    ("repository", "/who/repository"),
    ("run", "/who/run_id"),
    ("created", "/created_at"),
    ("expires", "/expires_at"),
];

const HOLD_COLUMNS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("scope", "/scope"),
    ("created", "/created_at"),
    ("until", "/until"),
    ("reason", "/reason"),
];

/// Runs it.
pub(crate) fn run(args: &Lease) -> anyhow::Result<Outcome> {
    let runtime = runtime()?;
    match &args.verb {
        LeaseVerb::List(list) => runtime.block_on(self::list(list)),
        LeaseVerb::Show(show) => runtime.block_on(self::show(show)),
        LeaseVerb::Revoke(revoke) => runtime.block_on(self::revoke(revoke)),
        LeaseVerb::Hold(hold) => runtime.block_on(self::hold(hold)),
        LeaseVerb::Holds(holds) => runtime.block_on(self::holds(holds)),
        LeaseVerb::Release(release) => runtime.block_on(self::release(release)),
    }?;
    Ok(Outcome::Clean)
}

async fn list(args: &LeaseList) -> anyhow::Result<()> {
    let operator = desk(&args.desk)?;
    let leases = if args.ids.is_empty() {
        operator.leases(&select(&args.which)?, args.limit).await?
    } else {
        let mut leases = Vec::new();
        for id in &args.ids {
            leases.push(
                operator
                    .lease(id)
                    .await
                    .with_context(|| format!("lease {}", cell(Some(&Value::from(id.as_str())))))?,
            );
        }
        leases
    };
    print_list(&leases, args.format, COLUMNS)
}

async fn show(args: &LeaseShow) -> anyhow::Result<()> {
    let lease = desk(&args.desk)?.lease(&args.id).await?;
    if args.json {
        return print(&format!("{lease:#}\n"));
    }
    let mut rows = Vec::new();
    flat("", &lease, &mut rows);
    print(&table(&rows))
}

/// The members of an object, nested ones by their path.
fn flat(at: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let below = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                flat(&below, value, rows);
            }
        }
        other => rows.push(vec![cell(Some(&Value::from(at))), cell(Some(other))]),
    }
}

async fn revoke(args: &LeaseRevoke) -> anyhow::Result<()> {
    let selection = Selection { ids: args.ids.clone(), ..select(&args.which)? };
    if selection == Selection::default() {
        bail!("which leases? Name their ids, or use --run, --repository, --role, --provider, --since, ...");
    }
    let operator = desk(&args.desk)?;
    if !args.yes {
        let count = if args.ids.is_empty() {
            count(&operator, &selection).await?
        } else {
            args.ids.len().to_string()
        };
        if count == "0" {
            return print("no such lease is open\n");
        }
        confirm(&format!("Revoke {count} leases?"), false)?;
    }
    say(&operator.revoke(&selection, None).await?)
}

async fn hold(args: &LeaseHold) -> anyhow::Result<()> {
    let selection = of(&args.whose);
    if selection == Selection::default() {
        bail!("hold back what? Use --run, --repository, --role, --provider, --issuer or --environment");
    }
    let operator = desk(&args.desk)?;
    if !args.yes {
        let count = count(&operator, &selection).await?;
        confirm(&format!("Issue nothing new for these, and revoke {count} leases?"), false)?;
    }
    let hold = HoldBack { reason: args.reason.clone(), how_long: args.how_long.map(|ttl| ttl.to_string()) };
    say(&operator.revoke(&selection, Some(&hold)).await?)
}

async fn holds(args: &LeaseHolds) -> anyhow::Result<()> {
    print_list(&desk(&args.desk)?.holds().await?, args.format, HOLD_COLUMNS)
}

async fn release(args: &LeaseRelease) -> anyhow::Result<()> {
    desk(&args.desk)?.release(&args.id).await?;
    print("released\n")
}

/// What a revocation did.
fn say(done: &Revoked) -> anyhow::Result<()> {
    let mut text = match done.leases.len() {
        1 => "1 lease is being revoked\n".to_owned(),
        count => format!("{count} leases are being revoked\n"),
    };
    for id in &done.leases {
        text.push_str(&format!("{}\n", cell(Some(&Value::from(id.as_str())))));
    }
    if let Some(hold) = &done.hold {
        let hold = cell(Some(&Value::from(hold.as_str())));
        text.push_str(&format!("held back until `claviger lease release {hold}`\n"));
    }
    print(&text)
}

/// How many open leases the selection has.
async fn count(operator: &Operator, selection: &Selection) -> Result<String, BrokerError> {
    let mut count = 0;
    for state in ["pending", "active"] {
        if selection.state.as_deref().is_none_or(|wanted| wanted == state) {
            let state = Some(state.to_owned());
            let narrowed = Selection { state, ..selection.clone() };
            count += operator.leases(&narrowed, COUNTED).await?.len();
        }
    }
    Ok(if count >= COUNTED { format!("{COUNTED} or more") } else { count.to_string() })
}

fn of(whose: &Whose) -> Selection {
    Selection {
        issuer: whose.issuer.clone(),
        run: whose.run.clone(),
        repository: whose.repository.clone(),
        role: whose.role.clone(),
        provider: whose.provider.clone(),
        environment: whose.environment.clone(),
        ..Selection::default()
    }
}

fn select(which: &Which) -> anyhow::Result<Selection> {
    let since = which.since.as_deref().map(|text| since(text, Timestamp::now())).transpose()?;
    Ok(Selection { state: which.state.clone(), since: since.map(|at| at.to_string()), ..of(&which.whose) })
}

/// A time, or so long before `now`.
fn since(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let ago: Ttl =
        text.parse().with_context(|| format!("--since {text}: no RFC 3339 time, nor a length like 2h"))?;
    let ago = SignedDuration::try_from(ago.duration()).context("--since")?;
    now.checked_sub(ago).context("--since")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_a_length() {
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().expect("a time");
        for (text, wanted) in
            [("2h", "2026-01-02T10:00:00Z"), ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")]
        {
            assert_eq!(since(text, now).expect(text).to_string(), wanted);
        }
        assert!(since("yesterday", now).is_err());
    }
}
