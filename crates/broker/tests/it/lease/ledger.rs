//! The ledger over an audit log on disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use claviger_audit::event::{Action, Event, JobEnded, Outcome};
use claviger_audit::files::Directory;
use claviger_audit::log::Options;
use claviger_audit::note::{KeyKind, SigningKey};
use claviger_audit::recorder::Recorder;
use claviger_broker::lease::ledger::{AuditLedger, Ledger as _, LedgerError};
use tokio::task::JoinSet;

use crate::store::at;

const ORIGIN: &str = "audit.example/ledger";

fn event(number: usize) -> Event {
    let event = Event::new(at(0), Action::JobEnded(JobEnded::default()), Outcome::Success);
    Event { lease: Some(format!("lease {number}")), ..event }
}

/// An event that is too long even when its long members are replaced.
fn endless() -> Event {
    let mut event = event(0);
    for number in 0..20_000 {
        event.extra.insert(format!("member {number}"), number.into());
    }
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_share_syncs_and_nobody_spoils_anothers() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::from_seed(ORIGIN, KeyKind::Ed25519, &[7; 32]).unwrap();
    let keys = vec![key.verifying_key().clone()];
    let files = Arc::new(Directory::new(folder.path()));
    let recorder = Arc::new(Recorder::create(files, key, Options::default(), None).unwrap());
    let ledger = Arc::new(AuditLedger::new(Arc::clone(&recorder)).unwrap());
    let mut tasks = JoinSet::new();
    for task in 0..64usize {
        let ledger = Arc::clone(&ledger);
        tasks.spawn(async move {
            let mut records = Vec::new();
            for round in 0..10 {
                if (task + round) % 16 == 0 {
                    let refused = ledger.record(vec![event(task), endless()]).await.unwrap_err();
                    assert!(matches!(refused, LedgerError::Refused(_)), "{refused}");
                    continue;
                }
                let events: Vec<Event> = (0..round % 3).map(|_| event(task)).collect();
                let given = ledger.record(events.clone()).await.unwrap();
                assert_eq!(given.len(), events.len());
                // What was given together stands together.
                assert!(given.windows(2).all(|pair| pair[1].index() == pair[0].index() + 1));
                records.extend(given.into_iter().map(|record| (task, record)));
            }
            records
        });
    }
    let records = tasks.join_all().await.concat();
    assert!(ledger.is_healthy());
    let indexes: BTreeSet<u64> = records.iter().map(|(_, record)| record.index()).collect();
    assert_eq!(indexes.len(), records.len());
    // The first entry says that the log was opened.
    assert_eq!(recorder.log().head().checkpoint().size, 1 + records.len() as u64);
    for (task, record) in &records {
        let entry = record.entry().unwrap();
        assert_eq!(Event::parse(entry).unwrap().lease, Some(format!("lease {task}")));
        record.receipt().unwrap().verify(entry, ORIGIN, &keys).unwrap();
    }
    drop(ledger);
    Arc::into_inner(recorder).expect("the ledger let it go").close().unwrap();
}
