//! A TCP proxy that loses what a test wants lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to the answer of a request that holds the trap's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The connection is cut when the answer is there: it was done.
    Cut,
    /// The answer never arrives, the connection stays.
    Swallow,
}

#[derive(Default)]
struct Shared {
    trap: Mutex<Option<(Vec<u8>, Loss)>>,
    accepted: AtomicUsize,
    sprung: AtomicUsize,
}

/// A running proxy.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    cut: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a port of its own and passes everything on to `target`, on the loopback address.
    pub(crate) async fn to(target: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let (cut, watched) = watch::channel(0);
        let task = tokio::spawn(accept(listener, target, Arc::clone(&shared), watched));
        Proxy { port, shared, cut, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The next request that holds `bytes` loses its answer; the one after it does not.
    pub(crate) fn lose_answer_to(&self, bytes: &str, loss: Loss) {
        *self.shared.trap.lock().unwrap() = Some((bytes.as_bytes().to_vec(), loss));
    }

    /// How often an answer was lost.
    pub(crate) fn lost(&self) -> usize {
        self.shared.sprung.load(Ordering::SeqCst)
    }

    /// How many connections there were.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Cuts every connection that is open now.
    pub(crate) fn cut_all(&self) {
        self.cut.send_modify(|count| *count += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: u16, shared: Arc<Shared>, watched: watch::Receiver<u64>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { continue };
        let (shared, mut watched) = (Arc::clone(&shared), watched.clone());
        watched.mark_unchanged();
        tokio::spawn(async move {
            tokio::select! {
                () = pass(client, server, &shared) => {}
                _ = watched.changed() => {}
            }
        });
    }
}

async fn pass(client: TcpStream, server: TcpStream, shared: &Shared) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let armed = Mutex::new(None);
    tokio::select! {
        () = requests(from_client, to_server, shared, &armed) => {}
        () = answers(from_server, to_client, shared, &armed) => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    armed: &Mutex<Option<Loss>>,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let sent = &buffer[..count];
        {
            let mut trap = shared.trap.lock().unwrap();
            let holds = |bytes: &[u8]| sent.windows(bytes.len()).any(|window| window == bytes);
            if let Some((_, loss)) = trap.take_if(|(bytes, _)| holds(bytes)) {
                *armed.lock().unwrap() = Some(loss);
            }
        }
        if to.write_all(sent).await.is_err() {
            return;
        }
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    armed: &Mutex<Option<Loss>>,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let loss = *armed.lock().unwrap();
        match loss {
            Some(loss) => {
                shared.sprung.fetch_add(1, Ordering::SeqCst);
                if loss == Loss::Cut {
                    return;
                }
            }
            None => {
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
