//! What single operations promise, one by one.

use super::on_all;

on_all! {
    foreign_handle,
    a_credential_that_comes_too_late_is_revoked,
    an_issuer_that_gives_up_is_believed_at_once,
    hostile_text_is_kept,
    a_run_takes_a_role_once_even_when_its_lease_is_forgotten,
    a_hold_covers_what_it_says,
    pages_meet,
}

mod run {
    use std::sync::Arc;

    use claviger_broker::lease::hold::Scope;
    use claviger_broker::lease::{Handle, Hold, HoldId, LeaseId, Reason, State};
    use claviger_broker::store::{BeginError, Filter, Store, Want};

    use super::super::{at, intent, lease};

    const DB: [Want<'_>; 1] = [Want { provider: "db", most: 10 }];

    pub(super) async fn foreign_handle(store: Arc<dyn Store>) {
        let new = intent(lease());
        store.begin(&new).await.unwrap();
        store.activate(new.lease.id, at(900), None, &[]).await.unwrap();
        let foreign = Handle::new().hash();
        assert_eq!(store.find_held(&foreign).await.unwrap(), None);
        assert!(!store.heard(&foreign, at(1)).await.unwrap());
        // The id is no handle.
        let mut id = [0; 32];
        id[..16].copy_from_slice(new.lease.id.as_bytes());
        assert_eq!(store.find_held(&id).await.unwrap(), None);
        assert!(store.find_held(&new.lease.handle).await.unwrap().is_some());
    }

    pub(super) async fn a_credential_that_comes_too_late_is_revoked(store: Arc<dyn Store>) {
        let new = intent(lease());
        let id = new.lease.id;
        store.begin(&new).await.unwrap();
        // The operator is quicker than the issuer.
        let ids = store.revoke(&Filter::default(), Reason::Operator, at(5)).await.unwrap();
        assert_eq!(ids, [id]);
        // Until issuing is given up nothing is done: somebody may be making it.
        assert!(store.claim("w", &DB, at(59), at(90)).await.unwrap().is_empty());
        let claimed = store.claim("w", &DB, at(60), at(90)).await.unwrap();
        assert_eq!((claimed[0].id, claimed[0].reason), (id, Some(Reason::Operator)));
        assert!(!store.activate(id, at(900), Some(b"ref"), &["f".into()]).await.unwrap());
        // The worker that began too early does not close it.
        assert!(!store.close("w", id, State::Revoked, at(61)).await.unwrap());
        let again = store.claim("w", &DB, at(61), at(90)).await.unwrap();
        assert_eq!(again[0].reference.as_deref(), Some(&b"ref"[..]));
        assert!(store.close("w", id, State::Revoked, at(62)).await.unwrap());
        // Even a closed one is opened again.
        assert!(!store.activate(id, at(900), None, &[]).await.unwrap());
        assert_eq!(store.claim("w", &DB, at(63), at(90)).await.unwrap().len(), 1);
    }

    pub(super) async fn an_issuer_that_gives_up_is_believed_at_once(store: Arc<dyn Store>) {
        let mut new = intent(lease());
        new.limits.role = Some(1);
        store.begin(&new).await.unwrap();
        assert!(store.abandon(new.lease.id, Reason::Unfinished, Some(b"half"), at(3)).await.unwrap());
        let claimed = store.claim("w", &DB, at(3), at(90)).await.unwrap();
        assert_eq!(claimed[0].reference.as_deref(), Some(&b"half"[..]));
        assert_eq!(claimed[0].expires, at(3600));
        // Nobody holds it, so it does not count.
        let mut next = intent(lease());
        next.limits.role = Some(1);
        store.begin(&next).await.unwrap();
        assert!(!store.abandon(LeaseId::new(), Reason::Unfinished, None, at(3)).await.unwrap());
    }

    pub(super) async fn hostile_text_is_kept(store: Arc<dyn Store>) {
        let mut new = intent(lease());
        let nasty = "'); DROP TABLE claviger_lease; --\u{0}\u{202e}\n\r\u{fffd}\u{1f512}";
        new.lease.who.repository = Some(nasty.into());
        new.lease.who.run_id = Some(nasty.repeat(200));
        new.lease.role = "r'\"\\".into();
        new.lease.fingerprints = vec![nasty.into()];
        new.token.token_id = nasty.repeat(500);
        store.begin(&new).await.unwrap();
        assert!(matches!(store.begin(&new).await, Err(BeginError::Replayed)));
        let seen = store.find(new.lease.id).await.unwrap().unwrap();
        assert_eq!(seen.who, new.lease.who);
        assert_eq!(seen.role, new.lease.role);
        let filter =
            Filter { repository: Some(nasty.into()), fingerprints: vec![nasty.into()], ..Filter::default() };
        assert_eq!(store.list(&filter, None, 10).await.unwrap().len(), 1);
        assert_eq!(store.revoke(&filter, Reason::Leaked, at(1)).await.unwrap(), [new.lease.id]);
        store.take("w", new.lease.id, at(70), at(90)).await.unwrap().unwrap();
        assert!(store.failed("w", new.lease.id, at(80), nasty).await.unwrap());
    }

    pub(super) async fn a_run_takes_a_role_once_even_when_its_lease_is_forgotten(store: Arc<dyn Store>) {
        let again = || {
            let mut new = intent(lease());
            new.limits.once_per_run = true;
            new
        };
        let first = again();
        store.begin(&first).await.unwrap();
        store.abandon(first.lease.id, Reason::Unfinished, None, at(1)).await.unwrap();
        store.claim("w", &DB, at(1), at(90)).await.unwrap();
        store.close("w", first.lease.id, State::Revoked, at(2)).await.unwrap();
        assert_eq!(store.purge(at(7200), at(7200)).await.unwrap(), 1);
        let second = again();
        assert!(matches!(store.begin(&second).await, Err(BeginError::LimitReached(_))));
        // A refused token is not used up.
        let mut other = second.clone();
        other.limits.once_per_run = false;
        store.begin(&other).await.unwrap();
    }

    pub(super) async fn a_hold_covers_what_it_says(store: Arc<dyn Store>) {
        let hold = Hold {
            id: HoldId::new(),
            scope: Scope { run: Some("4711".into()), role: Some("deploy".into()), ..Scope::default() },
            reason: "run 4711 is suspect".into(),
            created: at(0),
            until: Some(at(50)),
        };
        store.hold(&hold).await.unwrap();
        store.hold(&hold).await.unwrap();
        assert_eq!(store.holds(at(1)).await.unwrap(), std::slice::from_ref(&hold));
        let new = intent(lease());
        match store.begin(&new).await {
            Err(BeginError::HeldBack(reason)) => assert_eq!(reason, hold.reason),
            other => panic!("{other:?}"),
        }
        let mut other_role = intent(lease());
        other_role.lease.role = "read".into();
        store.begin(&other_role).await.unwrap();
        let mut no_run = intent(lease());
        no_run.lease.who.run_id = None;
        store.begin(&no_run).await.unwrap();
        let mut later = intent(lease());
        later.lease.created = at(50);
        store.begin(&later).await.unwrap();
        assert!(store.release(hold.id).await.unwrap());
        assert!(!store.release(hold.id).await.unwrap());
        store.begin(&new).await.unwrap();
    }

    pub(super) async fn pages_meet(store: Arc<dyn Store>) {
        let mut all = Vec::new();
        for n in 0..23 {
            let mut new = intent(lease());
            new.lease.created = at(n / 3);
            store.begin(&new).await.unwrap();
            all.push((new.lease.created, new.lease.id));
        }
        all.sort();
        all.reverse();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(&Filter::default(), after, 5).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            seen.extend(page.iter().map(|lease| (lease.created, lease.id)));
        }
        assert_eq!(seen, all);
    }
}
