//! In its steady state a member allocates nothing to probe, to answer and to hear the answer; with keys and without.

#![expect(clippy::expect_used, reason = "a test's panic is its verdict, in its helpers too")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use muster_cluster::keyring::{KEY_LEN, Key, Keyring};
use muster_cluster::swim::{Config, Identity, Input, Output, Snapshot, Stamp, Swim};
use muster_cluster::time::{Mono, Now, Wall};
use uuid::Uuid;

const MEMBERS: u16 = 20;

/// Long enough that everybody has probed everybody, and that every buffer has found its size.
const WARM_UP: Duration = Duration::from_secs(200);

const MEASURED: Duration = Duration::from_secs(100);

fn at(time: Duration) -> Now {
    let wall = 1_800_000_000_000 + u64::try_from(time.as_millis()).expect("a short run");
    Now { mono: Mono::new(time), wall: Wall::from_millis(wall) }
}

fn identity(number: u16) -> Identity {
    Identity {
        id: Uuid::from_u128(number.into()),
        boot: number.into(),
        address: ([10, 0, 0, 1], number).into(),
        metadata: "a member".into(),
        last_stamp: Stamp::at(at(Duration::ZERO).wall),
    }
}

/// Members who know each other and whose packets arrive at once.
struct World {
    members: Vec<Swim>,
    by_address: BTreeMap<SocketAddr, usize>,
    time: Duration,
    /// What all steps of the first one allocated; and how many there were.
    allocations: u64,
    steps: u64,
}

impl World {
    fn new(keys: &Keyring) -> Self {
        let identities: Vec<Identity> = (1..=MEMBERS).map(identity).collect();
        let all = Snapshot::of(&identities);
        let by_address = identities.iter().enumerate().map(|(number, member)| (member.address, number)).collect();
        let members = identities.into_iter().zip(1..).map(|(identity, seed)| {
            let mut swim = Swim::seeded(Config::lan("c"), identity, seed, at(Duration::ZERO), &all).expect("sound");
            swim.handle(at(Duration::ZERO), Input::Keys(keys.clone())).expect("never refused");
            swim
        });
        Self { members: members.collect(), by_address, time: Duration::ZERO, allocations: 0, steps: 0 }
    }

    fn step(&mut self, number: usize, input: Input) {
        let (member, now) = (&mut self.members[number], at(self.time));
        let mut first = None;
        let counted = allocation_counter::measure(|| {
            member.handle(now, input).expect("never refused");
            first = member.poll();
        });
        if number == 0 {
            self.allocations += counted.count_total;
            self.steps += 1;
        }
        let mut next = first;
        while let Some(output) = next {
            if let Output::Datagram { to, bytes } = output {
                let from = self.members[number].id().as_u128();
                let from = ([10, 0, 0, 1], u16::try_from(from).expect("few")).into();
                self.step(self.by_address[&to], Input::Datagram { from, bytes });
            }
            next = self.members[number].poll();
        }
    }

    fn run(&mut self, length: Duration) {
        let end = self.time + length;
        loop {
            let deadlines = self.members.iter().enumerate();
            let next = deadlines.filter_map(|(number, member)| Some((member.next_deadline()?, number))).min();
            let (due, number) = next.expect("timers run");
            if due.since_origin() > end {
                return;
            }
            self.time = self.time.max(due.since_origin());
            self.step(number, Input::Tick);
        }
    }
}

#[test]
fn probes_and_their_answers_allocate_nothing() {
    for keys in [Keyring::default(), Keyring::sealed(Key::new([7; KEY_LEN]))] {
        let mut world = World::new(&keys);
        world.run(WARM_UP);
        (world.allocations, world.steps) = (0, 0);
        world.run(MEASURED);
        let (probes, steps) = (world.members[0].stats().probes_direct, world.steps);
        assert!(probes > 250 && steps > 400, "{probes} probes, {steps} steps: it hardly lives");
        assert_eq!(world.allocations, 0, "in {steps} steps, sealed: {}", !keys.is_open());
    }
}
