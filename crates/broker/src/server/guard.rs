//! What a request must pass before anything looks into it: the limit of its address, the limit of all, the time limit.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::Semaphore;

use super::answer::{Refused, RequestId};
use super::exchange::{Caller, Client};
use super::{Options, Service};
use crate::broker::limit::{Buckets, REMEMBERED, slower};
use crate::broker::{Refusal, RefusalKind};
use crate::policy::file::Network;

/// The limits of a server.
pub(super) struct Guards {
    addresses: Buckets<IpAddr>,
    places: Arc<Semaphore>,
    timeout: Duration,
    proxies: Vec<Network>,
}

impl Guards {
    pub(super) fn new(options: &Options) -> Guards {
        Guards {
            addresses: Buckets::new(options.per_address, REMEMBERED),
            places: Arc::new(Semaphore::new(options.concurrency)),
            timeout: options.timeout,
            proxies: options.trusted_proxies.clone(),
        }
    }
}

/// The client's address: the connection's own, or what a trusted proxy says. From the right, the first address in
/// `X-Forwarded-For` that is no trusted proxy: what stands left of it the client itself may have written.
fn client(headers: &HeaderMap, connected: IpAddr, proxies: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| proxies.iter().any(|network| network.contains(address));
    if !is_trusted(connected) {
        return connected;
    }
    let said = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = said.flat_map(|value| value.split(',')).collect();
    let mut nearest = connected;
    for hop in hops.into_iter().rev() {
        let Ok(address) = hop.trim().parse::<IpAddr>() else { return nearest };
        nearest = address;
        if !is_trusted(address) {
            return address;
        }
    }
    nearest
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
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(request.headers());
    let refused = |refusal| Refused(refusal, id.clone()).into_response();
    let guards = &service.guards;
    let address = address.map(|connected| client(request.headers(), connected, &guards.proxies));
    if let Some(address) = address {
        request.extensions_mut().insert(Client(address));
    }
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
    use super::*;

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
        let proxies = [Network("10.0.0.0/8".parse().expect("a network"))];
        let seen = |connected: &str, said: &str| {
            let headers = HeaderMap::from_iter([(
                axum::http::HeaderName::from_static("x-forwarded-for"),
                said.parse().expect("a header"),
            )]);
            client(&headers, address(connected), &proxies)
        };
        assert_eq!(seen("192.0.2.9", "198.51.100.1"), address("192.0.2.9"));
        assert_eq!(seen("10.0.0.1", "203.0.113.7, 198.51.100.1, 10.0.0.2"), address("198.51.100.1"));
        assert_eq!(seen("10.0.0.1", "10.0.0.3"), address("10.0.0.3"));
        assert_eq!(seen("10.0.0.1", "garbage"), address("10.0.0.1"));
    }

    #[test]
    fn a_host_of_ipv6_is_one_client() {
        let network = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
