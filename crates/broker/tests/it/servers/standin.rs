//! Servers inside the test, for contracts that no program here keeps.

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A router that is served until it is dropped.
pub(crate) struct StandIn {
    url: String,
    server: JoinHandle<()>,
}

impl StandIn {
    /// Serves on a free port.
    pub(crate) async fn start(router: Router) -> StandIn {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        StandIn { url, server }
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}
