//! The SQLite file: crashes, damage, full disks, rights.

use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use claviger_broker::lease::{LeaseId, State};
use claviger_broker::store::sqlite::Sqlite;
use claviger_broker::store::{BeginError, Filter, Store as _, StoreError};
use tokio::task::JoinSet;

use super::{at, intent, lease};

/// The child's part of the tests below: begins and activates leases at the path of the environment without end, and
/// prints each that was acknowledged.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by other tests, as a process of its own"]
async fn child() {
    let Some(path) = std::env::var_os("CLAVIGER_TEST_FILE") else { return };
    let store = Arc::new(Sqlite::open(Path::new(&path)).await.unwrap());
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            loop {
                let new = intent(lease());
                match store.begin(&new).await {
                    Ok(()) => println!("begun {}", new.lease.id),
                    Err(e) => {
                        println!("refused {e}");
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                        continue;
                    }
                }
                if let Ok(true) = store.activate(new.lease.id, at(900), None, &["f".into()]).await {
                    println!("active {}", new.lease.id);
                }
            }
        });
    }
    tasks.join_all().await;
}

/// Kills its process, with force, when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The test binary as the [`child`], after the shell commands `before`.
fn start(path: &Path, before: &str) -> Running {
    let program = std::env::current_exe().unwrap();
    let script = format!("{before} exec \"$0\" store::files::child --exact --ignored --nocapture");
    let child = Command::new("sh")
        .args(["-c", &script])
        .arg(program)
        .env("CLAVIGER_TEST_FILE", path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    Running(child.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_time_it_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.db");
    let (mut begun, mut active) = (Vec::new(), Vec::new());
    for round in 0..6usize {
        let mut child = start(&path, "");
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let mut left = 40 + round * 61;
        for line in lines {
            let line = line.unwrap_or_default();
            match line.split_once(' ') {
                Some(("begun", id)) => begun.extend(id.parse::<LeaseId>()),
                Some(("active", id)) => active.extend(id.parse::<LeaseId>()),
                _ => {}
            }
            left = left.saturating_sub(1);
            if left == 0 {
                // SIGKILL; what is in the pipe was acknowledged too, and is read on.
                child.0.kill().unwrap();
            }
        }
        drop(child);
        let store = Sqlite::open(&path).await.unwrap();
        for id in &begun {
            assert!(store.find(*id).await.unwrap().is_some(), "round {round}: {id} was acknowledged");
        }
        for id in &active {
            assert_eq!(store.find(*id).await.unwrap().unwrap().state, State::Active);
        }
        store.close().await;
    }
    assert!(begun.len() > 500, "{} are too few to say anything", begun.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.db");
    // A limit on the size of files, in blocks of 512 bytes, stands in for the disk's.
    let mut child = start(&path, "ulimit -f 1000; trap '' XFSZ;");
    let (mut begun, mut refused) = (Vec::new(), 0);
    for line in BufReader::new(child.0.stdout.take().unwrap()).lines() {
        let line = line.unwrap_or_default();
        match line.split_once(' ') {
            Some(("begun", id)) => begun.extend(id.parse::<LeaseId>()),
            Some(("refused", why)) => {
                assert!(why.contains("disk is full") || why.contains("failed"), "{why}");
                refused += 1;
                if refused == 100 {
                    child.0.kill().unwrap();
                }
            }
            _ => {}
        }
    }
    drop(child);
    assert!(begun.len() > 20 && refused >= 100, "{} {refused}", begun.len());
    let store = Sqlite::open(&path).await.unwrap();
    for id in &begun {
        assert!(store.find(*id).await.unwrap().is_some(), "{id} was acknowledged");
    }
    // There is space again.
    store.begin(&intent(lease())).await.unwrap();
}

/// Overwrites bytes in the middle of a file.
fn damage(path: &Path, offset: u64, bytes: &[u8]) {
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_said_in_clear_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.db");
    let store = Sqlite::open(&path).await.unwrap();
    for _ in 0..200 {
        store.begin(&intent(lease())).await.unwrap();
    }
    store.close().await;
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    damage(&path, 0, b"PK\x03\x04 not a database");
    let error = Sqlite::open(&path).await.err().unwrap();
    assert!(matches!(&error, StoreError::Damaged(why) if why.contains("no SQLite database")), "{error}");
    let mut reported = 0;
    for page in 1..whole.len() as u64 / 4096 {
        std::fs::write(&path, &whole).unwrap();
        damage(&path, page * 4096, &[0xa5; 512]);
        if let Err(error) = Sqlite::open(&path).await {
            let words = error.to_string();
            let is_damage =
                matches!(error, StoreError::Damaged(_)) && words.contains("restore it from a backup");
            assert!(is_damage, "{words}");
            assert!(words.contains("leases.db"), "{words}");
            reported += 1;
        }
    }
    assert!(reported as u64 >= whole.len() as u64 / 4096 - 2, "only {reported} damaged pages were noticed");
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(Sqlite::open(&path).await.unwrap().counts().await.unwrap().by_provider, [("db".into(), 200)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/leases.db");
    let store = Sqlite::open(&path).await.unwrap();
    store.begin(&intent(lease())).await.unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    store.close().await;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    let error = Sqlite::open(&path).await.err().unwrap();
    assert!(matches!(&error, StoreError::Unfit(why) if why.contains("chmod 600")), "{error}");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::set_permissions(path.parent().unwrap(), PermissionsExt::from_mode(0o777)).unwrap();
    assert!(matches!(Sqlite::open(&path).await.err().unwrap(), StoreError::Unfit(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn standby_issue() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.db");
    assert!(matches!(Sqlite::open_read_only(&path).await.err().unwrap(), StoreError::Unavailable(_)));
    let writing = Sqlite::open(&path).await.unwrap();
    let first = intent(lease());
    writing.begin(&first).await.unwrap();
    let reading = Sqlite::open_read_only(&path).await.unwrap();
    let refused = reading.begin(&intent(lease())).await.unwrap_err();
    assert!(matches!(refused, BeginError::Store(StoreError::Unavailable(_))), "{refused}");
    assert_eq!(reading.list(&Filter::default(), None, 10).await.unwrap().len(), 1);
    assert!(reading.find_held(&first.lease.handle).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_is_not_touched() {
    use sqlx::{Connection as _, Executor as _, SqliteConnection};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.db");
    Sqlite::open(&path).await.unwrap().close().await;
    let mut conn = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    let text = "INSERT INTO claviger_migration (version, description, success, checksum, execution_time)
        VALUES (99, 'later', TRUE, x'00', 0)";
    conn.execute(text).await.unwrap();
    let error = Sqlite::open(&path).await.err().unwrap();
    assert!(matches!(&error, StoreError::Unfit(why) if why.contains("newer version")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_operation_does_not_spoil_its_batch() {
    let Some(fixture) = super::sqlite().await else { return };
    let taken = intent(lease());
    fixture.store.begin(&taken).await.unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..100 {
        let (store, mut new) = (Arc::clone(&fixture.store), intent(lease()));
        if n % 10 == 3 {
            // A handle that is there already: the table refuses.
            new.lease.handle = taken.lease.handle;
        }
        tasks.spawn(async move { store.begin(&new).await });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|it| it.is_ok()).count(), 90);
    let refused = |it: &&Result<(), BeginError>| matches!(it, Err(BeginError::Store(StoreError::Damaged(why))) if why.contains("exists already"));
    assert_eq!(answers.iter().filter(refused).count(), 10);
    assert_eq!(fixture.store.list(&Filter::default(), None, 200).await.unwrap().len(), 91);
}
