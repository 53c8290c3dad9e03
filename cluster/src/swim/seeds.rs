//! Where to look for members: the names and addresses given, tried until there is somebody, and those that are no members now and then.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use uuid::Uuid;

use super::Swim;
use super::io::MAX_SEEDS;
use super::member::{MemberState, reachable};
use super::timer::Timer;
use crate::time::Now;

/// Seeds that are tried at a time while we are alone.
const SEEDS_AT_ONCE: usize = 3;

/// While we are alone, seeds are tried at least every this many protocol periods: somebody waits for us.
const ALONE_PERIODS: u32 = 2;

/// Where to look for members.
#[derive(Debug, Default)]
pub(super) struct Seeds {
    addresses: Vec<SocketAddr>,
    /// Who was last heard of at a seed's address. So nobody looks through all members for it.
    members: BTreeMap<SocketAddr, Uuid>,
    /// Where in the list the next try begins: seeds are tried in turn, so that none is left out by chance.
    turn: usize,
    /// How long until the next try while we are alone: from the gossip interval it doubles up to [`ALONE_PERIODS`].
    back_off: Duration,
    /// Timers of an earlier list are stale.
    round: u64,
}

impl Seeds {
    pub(super) const fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// A member is at this address, which may be a seed's.
    pub(super) fn note_member(&mut self, id: Uuid, address: SocketAddr) {
        if self.addresses.contains(&address) {
            self.members.insert(address, id);
        }
    }
}

impl Swim {
    pub(super) fn handle_seeds(&mut self, now: Now, addresses: Vec<SocketAddr>) {
        let mut seeds: Vec<SocketAddr> = Vec::new();
        for address in addresses {
            if seeds.len() < MAX_SEEDS
                && reachable(&address)
                && address != self.identity.address
                && !seeds.contains(&address)
            {
                seeds.push(address);
            }
        }
        // The names' addresses come in another order each time where a name has many.
        seeds.sort_unstable();
        if seeds == self.seeds.addresses || self.leaving.has_begun() {
            return;
        }
        self.seeds.addresses = seeds;
        self.seeds.members.clear();
        let seeds = &mut self.seeds;
        for (id, row) in self.set.iter() {
            if let Some(life) = &row.life {
                seeds.note_member(id, life.address);
            }
        }
        // Not all members begin with the same one.
        self.seeds.turn = self.rng.random_range(0..self.seeds.addresses.len().max(1));
        self.seeds.back_off = self.config.gossip_interval;
        self.seeds.round += 1;
        self.announce(now);
        self.try_seeds(now, self.seeds.round);
    }

    pub(super) fn try_seeds(&mut self, now: Now, round: u64) {
        if round != self.seeds.round || self.seeds.is_empty() || self.leaving.has_begun() {
            return;
        }
        let alone = self.roster.is_empty() || !self.own.synced;
        // A seed that is a member needs no trying. One that is none may be the door to another half.
        let worth_it = |address: &SocketAddr| alone || !self.is_live_member(address);
        let free = |address: &SocketAddr| !self.streams.goes_to(*address, None);
        let Seeds { addresses, turn, .. } = &self.seeds;
        let in_turn = (*turn..addresses.len()).chain(0..*turn).map(|at| (at, addresses[at]));
        let due = in_turn.filter(|(_, address)| worth_it(address) && free(address));
        let due: Vec<_> = due.take(if alone { SEEDS_AT_ONCE } else { 1 }).collect();
        for (at, address) in due {
            self.seeds.turn = (at + 1) % self.seeds.addresses.len();
            self.dial(now, address, None);
        }
        let wait = if alone { self.seeds.back_off } else { self.config.seed_interval };
        let next = if alone { wait.saturating_mul(2) } else { self.config.gossip_interval };
        let longest = self.config.probe_interval.saturating_mul(ALONE_PERIODS).min(self.config.seed_interval);
        self.seeds.back_off = next.min(longest);
        let wait = self.jittered(wait);
        self.timers.set(now.mono + wait, Timer::Seeds { round });
    }

    fn is_live_member(&self, address: &SocketAddr) -> bool {
        let row = self.seeds.members.get(address).and_then(|id| self.set.get(id));
        let here = row.and_then(|row| row.life.as_ref()).is_some_and(|life| life.address == *address);
        here && row.and_then(|row| row.state()).is_some_and(MemberState::is_live)
    }
}
