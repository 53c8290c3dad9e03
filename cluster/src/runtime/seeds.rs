//! The seeds: `host:port` names, resolved afresh at every round, so that a seed that comes back at another address is found.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::{
    net::lookup_host,
    select,
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};

use crate::swim::MAX_SEEDS;

/// How long a round waits for slow name servers; what comes later counts in the next round.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// The first pause while some name does not resolve yet; it doubles up to the usual interval. Where containers start together, names
/// come up a moment after those who ask for them.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// A seed that cannot be looked up. Correct it; the seeds before stand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no seed: write host:port")]
pub struct BadSeed(pub String);

/// Refuses what has no host or no port.
pub(super) fn check(seed: &str) -> Result<(), BadSeed> {
    let good = seed.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let whole = bracketed || !host.contains(':');
        !host.is_empty() && whole && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if good { Ok(()) } else { Err(BadSeed(seed.to_owned())) }
}

/// Adds to a list of at most [`MAX_SEEDS`]. Full, the oldest goes.
pub(super) fn extend(list: &mut Vec<String>, more: Vec<String>) -> bool {
    let before = list.clone();
    for seed in more {
        if !list.contains(&seed) {
            list.push(seed);
        }
    }
    list.drain(..list.len().saturating_sub(MAX_SEEDS));
    *list != before
}

/// Looks names up, never the same one twice at a time: a stuck name server holds one thread a name, not more and more.
#[derive(Default)]
pub(super) struct Resolver {
    lookups: BTreeMap<String, JoinHandle<Vec<SocketAddr>>>,
    known: BTreeMap<String, Vec<SocketAddr>>,
}

impl Resolver {
    /// One round: all the addresses of all the names. A name that does not resolve now keeps the addresses that it had.
    pub(super) async fn round(&mut self, names: &[String]) -> Vec<SocketAddr> {
        self.known.retain(|name, _| names.contains(name));
        self.lookups.retain(|name, lookup| names.contains(name) || !lookup.is_finished());
        for name in names {
            if let Ok(address) = name.parse::<SocketAddr>() {
                self.known.insert(name.clone(), vec![address]);
            } else if !self.lookups.contains_key(name) {
                let host = name.clone();
                let lookup = async move { lookup_host(host).await.map(Iterator::collect).unwrap_or_default() };
                self.lookups.insert(name.clone(), tokio::spawn(lookup));
            }
        }
        let deadline = Instant::now() + PATIENCE;
        for name in names {
            let Some(lookup) = self.lookups.get_mut(name) else { continue };
            let Ok(found) = timeout_at(deadline, lookup).await else { continue };
            self.lookups.remove(name);
            match found {
                Ok(addresses) if !addresses.is_empty() => {
                    self.known.insert(name.clone(), addresses);
                }
                Ok(_) | Err(_) => log::debug!("the seed {name} does not resolve"),
            }
        }
        let mut all: Vec<SocketAddr> = Vec::new();
        for address in names.iter().filter_map(|name| self.known.get(name)).flatten() {
            if all.len() < MAX_SEEDS && !all.contains(address) {
                all.push(*address);
            }
        }
        all
    }
}

/// Resolves again when the names change and every `interval`, sooner while a name is unknown, until the owner is gone.
pub(super) async fn run(
    mut resolver: Resolver,
    mut names: watch::Receiver<Vec<String>>,
    addresses: watch::Sender<Vec<SocketAddr>>,
    interval: Duration,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let all_known = names.borrow().iter().all(|name| resolver.known.contains_key(name));
        pause = if all_known { interval } else { pause.min(interval) };
        select! {
            changed = names.changed() => match changed {
                Ok(()) => pause = FIRST_PAUSE,
                Err(_) => return,
            },
            () = sleep(pause) => pause *= 2,
        }
        let current = names.borrow_and_update().clone();
        let found = resolver.round(&current).await;
        addresses.send_if_modified(|known| {
            let changed = *known != found;
            *known = found;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_host_and_a_port() {
        for good in ["a:1", "node-1.example:8051", "127.0.0.1:8051", "[::1]:8051"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", ":", "a", "a:", ":1", "a:0", "a:65536", "::1:8051", "http://a:1"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_list_of_seeds_is_bounded_and_holds_each_once() {
        let mut list = vec!["a:1".to_owned()];
        assert!(!extend(&mut list, vec!["a:1".to_owned()]));
        assert!(extend(&mut list, (0..100).map(|n| format!("b:{}", n + 1)).collect()));
        assert_eq!(list.len(), MAX_SEEDS);
        assert!(!list.contains(&"a:1".to_owned()), "the oldest went");
        assert!(list.contains(&"b:100".to_owned()));
    }
}
