//! The one world of this thread: machines, links, and what is under way.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::link::Link;
use crate::machine::Machine;
use crate::met::Met;
use crate::queue::{Arrival, Queue};

/// Virtual milliseconds since the run began: the least that time moves by.
pub type Millis = u64;

/// 2026-01-01, when every machine's clock begins unless it is set.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Millis,
    pub(crate) chance: StdRng,
    pub(crate) machines: Vec<Machine>,
    pub(crate) queue: Queue,
    /// The machine that runs.
    pub(crate) current: Option<usize>,
    ways: BTreeMap<(usize, usize), Way>,
    trace: DefaultHasher,
}

/// One direction between two machines, and what was met on it.
#[derive(Debug, Default)]
struct Way {
    link: Link,
    met: Met,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Virtual time since the run began.
pub fn now() -> Millis {
    with(|world| world.now)
}

/// The time of day as the machine's clock shows it, since 1970.
pub fn wall_clock() -> Duration {
    with(|world| world.here().clock + Duration::from_millis(world.now))
}

/// Does something with the world.
///
/// # Panics
/// Outside of a simulation: nothing here works without one.
#[expect(
    clippy::expect_used,
    reason = "a program of the simulation that runs outside of it is a mistake of the harness"
)]
pub(crate) fn with<T>(run: impl FnOnce(&mut World) -> T) -> T {
    try_with(run).expect("there is a simulation on this thread")
}

/// The same; `None` outside of a simulation, where sockets may still be dropped.
pub(crate) fn try_with<T>(run: impl FnOnce(&mut World) -> T) -> Option<T> {
    WORLD.try_with(|world| world.borrow_mut().as_mut().map(run)).ok().flatten()
}

/// Begins a world; the one before is gone.
pub(crate) fn begin(seed: u64) {
    WORLD.set(Some(World {
        now: 0,
        chance: StdRng::seed_from_u64(seed),
        machines: Vec::new(),
        queue: Queue::default(),
        current: None,
        ways: BTreeMap::new(),
        trace: DefaultHasher::new(),
    }));
}

/// Ends it. What is under way goes, too, which may ask for the world: not while it is borrowed.
pub(crate) fn end() {
    drop(WORLD.take());
}

impl World {
    pub(crate) fn add(&mut self, ip: IpAddr) -> usize {
        let chance = StdRng::from_rng(&mut self.chance);
        self.machines.push(Machine::new(ip, EPOCH, chance));
        self.machines.len() - 1
    }

    /// The machine that runs.
    ///
    /// # Panics
    /// When none does.
    #[expect(clippy::expect_used, reason = "a socket used outside of a machine is a mistake of the harness")]
    pub(crate) fn here(&mut self) -> &mut Machine {
        let current = self.current.expect("a machine runs");
        &mut self.machines[current]
    }

    pub(crate) fn find(&self, ip: IpAddr) -> Option<usize> {
        self.machines.iter().position(|machine| machine.ip == ip)
    }

    pub(crate) fn link(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.ways.entry((from, to)).or_default().link
    }

    pub(crate) fn met(&self, from: usize, to: usize) -> Met {
        self.ways.get(&(from, to)).map(|way| way.met).unwrap_or_default()
    }

    /// How long a packet takes now.
    pub(crate) fn delay(&mut self, from: usize, to: usize) -> Millis {
        if from == to {
            return 0;
        }
        let Way { link, met } = self.ways.entry((from, to)).or_default();
        link.takes(met, &mut self.chance)
    }

    /// Whether a segment comes through now.
    pub(crate) fn segment_passes(&mut self, from: usize, to: usize) -> bool {
        let powered = self.machines[from].powered && self.machines[to].powered;
        if !powered || from == to {
            return powered;
        }
        let Way { link, met } = self.ways.entry((from, to)).or_default();
        link.passes_segment(met, &mut self.chance)
    }

    pub(crate) fn put(&mut self, at: Millis, arrival: Arrival) {
        self.queue.put(at, arrival);
    }

    /// Sends a datagram on its way, or loses or doubles it.
    pub(crate) fn send_datagram(&mut self, from: std::net::SocketAddr, to: std::net::SocketAddr, bytes: &[u8]) {
        let (Some(source), Some(target)) = (self.find(from.ip()), self.find(to.ip())) else { return };
        if !self.machines[source].powered {
            return;
        }
        let mut copies = 1;
        if source != target {
            let Way { link, met } = self.ways.entry((source, target)).or_default();
            if !link.passes_datagram(met, &mut self.chance) {
                return;
            }
            copies += usize::from(link.doubles(met, &mut self.chance));
        }
        let bytes: std::sync::Arc<[u8]> = bytes.into();
        for _ in 0..copies {
            let at = self.now + self.delay(source, target);
            self.put(at, Arrival::Datagram { from, to, bytes: bytes.clone() });
        }
    }

    /// Makes something part of the trace.
    pub(crate) fn note(&mut self, what: impl Hash) {
        (self.now, what).hash(&mut self.trace);
    }

    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }
}
