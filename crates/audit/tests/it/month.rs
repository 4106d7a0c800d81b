//! A month of a company: 200 identities, habits, refusals, and a few planted oddities.

use claviger_audit::event::{
    Action, Authentication, ConfigChanged, Decision, Event, Expired, Issued, JobEnded, Outcome, Renewed,
    Revoked, Rotated, SecretChanged, SecretRead, Target, Used, Who,
};
use jiff::Timestamp;

use crate::support::Rng;

pub(crate) const START: i64 = 1_793_491_200; // 2026-11-01T00:00:00Z
const ROLES: [(&str, &str, &str); 8] = [
    ("deploy-prod", "aws", "prod"),
    ("deploy-staging", "aws", "staging"),
    ("read-artifacts", "gcp", "prod"),
    ("migrate-db", "postgres", "prod"),
    ("test-db", "postgres", "ci"),
    ("publish-package", "registry", "prod"),
    ("read-vault", "vault", "prod"),
    ("terraform-plan", "azure", "staging"),
];

fn at(second: i64) -> Timestamp {
    Timestamp::from_microsecond(second * 1_000_000).unwrap()
}

/// An event of `identity` at a second.
pub(crate) fn event(second: i64, action: Action, outcome: Outcome, identity: &str) -> Event {
    let mut event = Event::new(at(second), action, outcome);
    event.who = Who {
        issuer: Some("https://token.actions.githubusercontent.com".into()),
        subject: Some(format!("repo:{identity}:ref:refs/heads/main")),
        repository: Some(identity.into()),
        reference: Some("refs/heads/main".into()),
        workflow: Some(".github/workflows/deploy.yml".into()),
        job: Some("deploy".into()),
        run_id: Some(format!("{}", 9_000_000_000 + second)),
        actor: Some("octo".into()),
        ..Who::default()
    };
    event
}

pub(crate) fn issued(second: i64, identity: &str, role: &str, lease: &str) -> Event {
    let mut event = event(
        second,
        Action::Issued(Issued { kind: Some("sts".into()), ..Issued::default() }),
        Outcome::Success,
        identity,
    );
    let target = ROLES.iter().find(|(name, ..)| *name == role).unwrap_or(&ROLES[0]);
    event.target = Target {
        role: Some(role.into()),
        provider: Some(target.1.into()),
        environment: Some(target.2.into()),
        ..Target::default()
    };
    event.lease = Some(lease.into());
    event.ttl_s = Some(900);
    event.expires = Some(at(second + 900));
    event
}

/// `count` events of an ordinary month, in order.
pub(crate) fn month(count: usize) -> Vec<Event> {
    let mut rng = Rng(2026);
    let mut events = Vec::with_capacity(count);
    let step = 30.0 * 86_400.0 / count as f64;
    let mut slot = 0.0;
    while events.len() < count {
        // Most work is done in the day, some at any hour.
        let second = START + slot as i64;
        let hour = (second / 3600) % 24;
        let weekend = matches!((second / 86_400 + 4) % 7, 0 | 6);
        slot += step * if (7..19).contains(&hour) { 2.0 } else { 6.0 } * if weekend { 2.5 } else { 1.0 };
        if slot > 30.0 * 86_400.0 {
            slot = rng.below(86_400 * 30) as f64;
        }
        let who = rng.below(200).min(rng.below(200));
        let identity = format!("acme/{}-{who:03}", ["shop", "billing", "mobile", "infra"][who as usize % 4]);
        let (role, provider, environment) = ROLES[(who % 3 + rng.below(3)) as usize];
        let lease = format!("lease-{:016x}", rng.next());
        let source = Some(format!("10.{}.{}.{}", who % 8, rng.below(3), rng.below(4)));
        let mut push = |mut event: Event| {
            event.source.clone_from(&source);
            event.correlation = Some(format!("req-{:016x}", rng.next()));
            events.push(event);
        };
        let target = Target {
            role: Some(role.into()),
            provider: Some(provider.into()),
            environment: Some(environment.into()),
            ..Target::default()
        };
        let with_target = |mut event: Event| {
            event.target = target.clone();
            event.lease = Some(lease.clone());
            event
        };
        let auth = Authentication {
            method: Some("oidc".into()),
            token_id: Some(lease.clone()),
            ..Authentication::default()
        };
        push(event(second, Action::Authentication(auth), Outcome::Success, &identity));
        let draw = second % 97;
        if draw < 6 {
            let mut refused = with_target(event(
                second,
                Action::Decision(Decision::default()),
                Outcome::Refused,
                &identity,
            ));
            refused.lease = None;
            refused.reason = Some(
                ["ref is not main", "environment not approved", "fork pull request"][draw as usize % 3]
                    .into(),
            );
            push(refused);
            continue;
        }
        if draw < 10 {
            let read =
                SecretRead { name: format!("legacy-api-{}", who % 9), version: 3, ..SecretRead::default() };
            push(with_target(event(second, Action::SecretRead(read), Outcome::Success, &identity)));
            continue;
        }
        let mut lease_event = issued(second, &identity, role, &lease);
        lease_event.ttl_s = Some([300, 900, 900, 3600, 14_400][draw as usize % 5]);
        push(lease_event);
        if who % 17 != 3 {
            push(with_target(event(second + 5, Action::Used(Used::default()), Outcome::Success, &identity)));
        }
        if draw == 11 {
            push(with_target(event(
                second + 60,
                Action::Renewed(Renewed { count: 1, ..Renewed::default() }),
                Outcome::Success,
                &identity,
            )));
        }
        let end = if draw % 8 == 0 {
            Action::Expired(Expired::default())
        } else {
            Action::Revoked(Revoked { by: Some("job_end".into()), ..Revoked::default() })
        };
        push(with_target(event(second + 120, end, Outcome::Success, &identity)));
    }
    events.truncate(count);
    events.sort_by_key(|event| event.time);
    events
}

/// Oddities from day 20 on, one for each rule.
pub(crate) fn oddities() -> Vec<Event> {
    let day = |n: i64| START + n * 86_400;
    let ok = Outcome::Success;
    let place = |mut event: Event, source: &str| {
        event.source = Some(source.into());
        event
    };
    let mut all = Vec::new();
    // Habits of one identity: at noon, from one place, for twenty days.
    for n in 0..200 {
        all.push(place(
            issued(day(n / 10) + 43_200 + n * 7, "acme/quiet", "deploy-prod", &format!("quiet-{n}")),
            "192.0.2.1",
        ));
    }
    all.push(place(issued(day(20) + 43_200, "acme/quiet", "deploy-prod", "quiet-a"), "198.51.100.7"));
    all.push(place(issued(day(21) + 3 * 3600, "acme/quiet", "deploy-prod", "quiet-b"), "192.0.2.1"));
    all.extend((0..90).map(|n| {
        place(issued(day(22) + 43_200 + n, "acme/quiet", "deploy-prod", &format!("burst-{n}")), "192.0.2.1")
    }));
    all.push(place(issued(day(23) + 43_200, "acme/newcomer", "migrate-db", "new-1"), "192.0.2.9"));
    for n in 0..6 {
        all.push(event(
            day(24) + n * 10,
            Action::Decision(Decision::default()),
            Outcome::Refused,
            "acme/quiet",
        ));
    }
    all.push(place(issued(day(24) + 100, "acme/quiet", "deploy-prod", "after-refusals"), "192.0.2.1"));
    let token = |second| {
        let auth = Authentication { token_id: Some("token-1".into()), ..Authentication::default() };
        event(second, Action::Authentication(auth), ok, "acme/quiet")
    };
    all.extend([token(day(25) + 43_200), token(day(25) + 43_260)]);
    let used = |second, lease: &str, source: &str| {
        let mut used = event(second, Action::Used(Used::default()), ok, "acme/quiet");
        used.lease = Some(lease.into());
        place(used, source)
    };
    all.push(used(day(25) + 44_000, "quiet-a", "192.0.2.1"));
    let mut ended = event(day(26) + 43_200, Action::JobEnded(JobEnded::default()), ok, "acme/quiet");
    let mut after = used(day(26) + 43_300, "after-refusals", "192.0.2.1");
    ended.who.run_id = Some("77".into());
    after.who.run_id = Some("77".into());
    all.extend([ended, after]);
    let mut revoke =
        event(day(26) + 43_400, Action::Revoked(Revoked::default()), Outcome::Failed, "acme/quiet");
    revoke.lease = Some("quiet-b".into());
    revoke.target.provider = Some("aws".into());
    all.push(revoke.clone());
    revoke.time = at(day(26) + 44_400);
    all.push(revoke);
    let config = ConfigChanged { what: "policy".into(), ..ConfigChanged::default() };
    all.push(event(day(27) + 43_200, Action::ConfigChanged(config), ok, "acme/admin"));
    all.push(place(issued(day(27) + 43_260, "acme/quiet", "publish-package", "policy-1"), "192.0.2.1"));
    let read = |n: i64| {
        let read = SecretRead { name: "shared-token".into(), version: 1, ..SecretRead::default() };
        event(day(28) + n, Action::SecretRead(read), ok, &format!("acme/reader-{n}"))
    };
    all.extend((0..11).map(read));
    let made = SecretChanged {
        name: "old-key".into(),
        rotate_by: Some("2026-11-10T00:00:00Z".into()),
        ..SecretChanged::default()
    };
    all.push(event(day(0), Action::SecretChanged(made), ok, "acme/admin"));
    let rotated = Rotated { name: "good-key".into(), ..Rotated::default() };
    all.push(event(day(2), Action::Rotated(rotated), ok, "acme/admin"));
    all.sort_by_key(|event| event.time);
    all
}
