//! What goes wrong in a random run.

use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::IndexedRandom;

use super::{Latency, Sim, Turns, Watch};
use crate::swim::Input;

/// A kind of fault, or of work that goes on meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Datagrams are lost.
    Loss,
    /// Datagrams arrive twice, or are overtaken by many.
    Disorder,
    /// Two or three groups do not hear each other.
    Groups,
    /// Some links carry nothing in one direction.
    OneWay,
    /// Some pairs exchange no datagrams, though streams go.
    Deaf,
    /// The network is whole again.
    Heal,
    /// A process is stopped, and goes on at the next pause or at the end.
    Pause,
    /// A process works by turns.
    Slow,
    /// A wall clock jumps, either way.
    Jump,
    /// A host's clocks run too fast or too slowly.
    Drift,
    /// A process is killed.
    Crash,
    /// One that is down starts, with what its disk holds.
    Restart,
    /// One that is down starts with an empty disk.
    RestartEmpty,
    /// One that is down starts with an older disk.
    RestartSetBack,
    /// One that is down starts at another address.
    RestartElsewhere,
    /// A member leaves.
    Leave,
    /// A member has other metadata.
    Metadata,
    /// A member broadcasts.
    Broadcast,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 18] = [
        Self::Loss,
        Self::Disorder,
        Self::Groups,
        Self::OneWay,
        Self::Deaf,
        Self::Heal,
        Self::Pause,
        Self::Slow,
        Self::Jump,
        Self::Drift,
        Self::Crash,
        Self::Restart,
        Self::RestartEmpty,
        Self::RestartSetBack,
        Self::RestartElsewhere,
        Self::Leave,
        Self::Metadata,
        Self::Broadcast,
    ];
}

/// Hosts that may move to another address must not be those that the others have as seeds.
pub(super) const SEEDS: usize = 2;

impl<W: Watch> Sim<W> {
    /// Draws a fault and lets it happen; gives it if there was something that it could happen to.
    pub fn random_fault(&mut self, chance: &mut Xoshiro256PlusPlus) -> Option<Fault> {
        let fault = *Fault::ALL.choose(chance)?;
        self.inflict(fault, chance).then_some(fault)
    }

    /// Lets a fault of a kind happen, somewhere; whether there was something that it could happen to.
    pub fn inflict(&mut self, fault: Fault, chance: &mut Xoshiro256PlusPlus) -> bool {
        let all = self.len();
        let up = self.up();
        let down: Vec<usize> = (0..all).filter(|host| !self.host(*host).is_up()).collect();
        let (up, down) = (up.choose(chance).copied(), down.choose(chance).copied());
        match fault {
            Fault::Loss => self.network.loss = chance.random_range(0.05..0.4),
            Fault::Disorder => {
                self.network.duplicates = chance.random_range(0.0..0.3);
                self.network.late = (chance.random_range(0.0..0.2), Duration::from_millis(chance.random_range(1..800)));
            }
            Fault::Groups => {
                let groups = chance.random_range(2..=3);
                for host in 0..all {
                    self.network.put_in_group(host, chance.random_range(0..groups));
                }
            }
            Fault::OneWay => self.some_pairs(chance, |network, a, b| network.cut_one_way(a, b)),
            Fault::Deaf => self.some_pairs(chance, |network, a, b| network.deafen(a, b)),
            Fault::Heal => self.network.heal(),
            Fault::Pause => return self.pause_or_go_on(up),
            Fault::Slow => {
                let Some(host) = up else { return false };
                let ms = Duration::from_millis;
                let turns = Turns {
                    run: Latency::Uniform(ms(1), ms(chance.random_range(2..200))),
                    wait: Latency::Uniform(ms(1), ms(chance.random_range(2..2_000))),
                    mute: chance.random_bool(0.3),
                    work: Duration::ZERO,
                };
                self.take_turns(host, Some(turns));
            }
            Fault::Jump => {
                self.host_mut(chance.random_range(0..all)).clock.ahead_ms += chance.random_range(-60_000..60_000)
            }
            Fault::Drift => self.set_clock_rate(chance.random_range(0..all), chance.random_range(-50_000..50_000)),
            Fault::Crash => {
                let Some(host) = up else { return false };
                self.crash(host);
            }
            Fault::Restart | Fault::RestartEmpty | Fault::RestartSetBack | Fault::RestartElsewhere => {
                let Some(host) = down.filter(|host| fault != Fault::RestartElsewhere || *host >= SEEDS) else {
                    return false;
                };
                match fault {
                    Fault::RestartEmpty => self.lose_disk(host),
                    Fault::RestartSetBack => self.set_disk_back(host),
                    Fault::RestartElsewhere => {
                        // Never one that another host has or had.
                        let number = 1_000 * (host + 1) + usize::try_from(self.host(host).starts).unwrap_or(0);
                        self.host_mut(host).address = Self::address(u32::try_from(number).unwrap_or(u32::MAX));
                    }
                    _ => {}
                }
                self.start(host, Self::first_addresses());
            }
            Fault::Leave => return self.ask_someone(up, |_| Input::Leave),
            Fault::Metadata => return self.ask_someone(up, Input::Metadata),
            Fault::Broadcast => return self.ask_someone(up, Input::Broadcast),
        }
        true
    }

    /// What all hosts have as seeds.
    pub(super) fn first_addresses() -> Vec<std::net::SocketAddr> {
        (1..).take(SEEDS).map(Self::address).collect()
    }

    fn some_pairs(&mut self, chance: &mut Xoshiro256PlusPlus, mut cut: impl FnMut(&mut super::Network, usize, usize)) {
        for _ in 0..chance.random_range(1..=self.len()) {
            let (a, b) = (chance.random_range(0..self.len()), chance.random_range(0..self.len()));
            if a != b {
                cut(&mut self.network, a, b);
            }
        }
    }

    fn pause_or_go_on(&mut self, host: Option<usize>) -> bool {
        let Some(host) = host else { return false };
        if self.is_held(host) {
            self.resume(host);
        } else {
            self.pause(host);
        }
        true
    }

    fn ask_someone(&mut self, host: Option<usize>, what: impl FnOnce(Bytes) -> Input) -> bool {
        let Some(host) = host.filter(|host| !self.is_held(*host)) else { return false };
        let text = Bytes::from(format!("{:?} of host {host}", self.time()));
        // One that is leaving refuses.
        self.ask(host, what(text)).is_ok()
    }
}
