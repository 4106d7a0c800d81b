//! What a request must pass before anything looks into it: the limit of its address, the limit of all, the time limit.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::Semaphore;

use super::answer::{Refused, RequestId};
use super::exchange::Caller;
use super::{Options, Service};
use crate::broker::limit::{Buckets, REMEMBERED, slower};
use crate::broker::{Refusal, RefusalKind};

/// The limits of a server.
pub(super) struct Guards {
    addresses: Buckets<IpAddr>,
    places: Arc<Semaphore>,
    timeout: Duration,
}

impl Guards {
    pub(super) fn new(options: &Options) -> Guards {
        Guards {
            addresses: Buckets::new(options.per_address, REMEMBERED),
            places: Arc::new(Semaphore::new(options.concurrency)),
            timeout: options.timeout,
        }
    }
}

/// Addresses of one IPv6 network are one client: a host has a /64 to itself.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => IpAddr::V4(mapped),
            None => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        },
    }
}

/// Lets a request pass, or not.
pub(super) async fn guard(
    State(service): State<Service>,
    Caller(address): Caller,
    request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(request.headers());
    let refused = |refusal| Refused(refusal, id.clone()).into_response();
    let guards = &service.guards;
    if let Some(address) = address
        && let Err(wait) = guards.addresses.take(network(address), Instant::now())
    {
        return refused(slower("this address", wait));
    }
    let Ok(_place) = guards.places.try_acquire() else {
        let message = "the broker has as many requests as it can serve at the moment";
        return refused(Refusal::new(RefusalKind::Unavailable, "busy", message));
    };
    match tokio::time::timeout(guards.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("the request took longer than {} s", guards.timeout.as_secs());
            refused(Refusal::new(RefusalKind::Unavailable, "timeout", message))
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_host_of_ipv6_is_one_client() {
        let network = |text: &str| super::network(text.parse().expect("an address"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
