//! The simulated cluster: virtual time, a network that can be cut, and nodes that crash.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use muster_cluster::{
    election::{Config, Election, Input, Message, Mode, Output},
    time::Mono,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use uuid::Uuid;

use crate::{
    checks::History,
    vote::{Ballot, Disk, Flaw, Role, Voter},
};

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Bully(Vec<u8>),
    Ballot(Ballot),
}

#[derive(Clone, Debug)]
enum Happening {
    Arrives { from: usize, to: usize, packet: Packet },
    Tick { node: usize, life: u32 },
    Beat { node: usize, life: u32, term: u64 },
    VoteEnds { node: usize, life: u32, campaign: u64 },
    Report { node: usize, life: u32, input: Input },
}

pub(crate) struct Node {
    pub(crate) up: bool,
    life: u32,
    pub(crate) election: Election,
    pub(crate) voter: Voter,
    /// As the core was told.
    reaches: BTreeSet<usize>,
    campaign: u64,
    due: Option<Mono>,
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    pub(crate) nodes: usize,
    pub(crate) seed: u64,
    pub(crate) flaw: Flaw,
    /// Whether cores are told how fresh their log is.
    pub(crate) tell_freshness: bool,
    /// Whether the bully's own messages arrive at all.
    pub(crate) bully_arrives: bool,
    /// Whether timers fire.
    pub(crate) timers: bool,
    /// Whether all that cores ask for is written down.
    pub(crate) traced: bool,
}

impl Plan {
    pub(crate) fn new(mode: Mode, nodes: usize, seed: u64) -> Self {
        Self {
            mode,
            nodes,
            seed,
            flaw: Flaw::None,
            tell_freshness: true,
            bully_arrives: true,
            timers: true,
            traced: false,
        }
    }
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now: Mono,
    queue: BTreeMap<(Mono, u64), Happening>,
    sequence: u64,
    pub(crate) rng: StdRng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) cuts: BTreeSet<(usize, usize)>,
    pub(crate) loss: f64,
    pub(crate) slowest: Duration,
    pub(crate) history: History,
    pub(crate) trace: String,
    pub(crate) campaigns: u64,
    pub(crate) campaigns_lost: u64,
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
}

pub(crate) fn id(node: usize) -> Uuid {
    Uuid::from_u128(node as u128 + 1)
}

fn place(id: Uuid) -> usize {
    usize::try_from(id.as_u128() - 1).expect("ids of the world are small")
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut world = Self {
            now: Mono::new(ms(1_000)),
            queue: BTreeMap::new(),
            sequence: 0,
            rng: StdRng::seed_from_u64(plan.seed),
            nodes: Vec::new(),
            cuts: BTreeSet::new(),
            loss: 0.0,
            slowest: ms(5),
            history: History::default(),
            trace: String::new(),
            campaigns: 0,
            campaigns_lost: 0,
            lost: 0,
            repeated: 0,
            plan,
        };
        for node in 0..world.plan.nodes {
            let election = world.fresh_core(node, 0);
            let voter = Voter::new(Disk::default(), Mono::ZERO);
            let reaches = BTreeSet::new();
            world.nodes.push(Node { up: false, life: 0, election, voter, reaches, campaign: 0, due: None });
        }
        for node in 0..world.plan.nodes {
            world.start(node);
        }
        world
    }

    fn fresh_core(&self, node: usize, life: u32) -> Election {
        let seed = self.plan.seed.wrapping_mul(31).wrapping_add((node as u64) << 32 | u64::from(life));
        Election::new(id(node), Config::standard(self.plan.mode, seed)).expect("the standard waits are valid")
    }

    fn at(&mut self, after: Duration, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), happening);
    }

    fn fast(&self, from: usize, to: usize) -> bool {
        !self.cuts.contains(&(from, to)) && self.nodes[from].up && self.nodes[to].up
    }

    /// Starts a node with what its disk holds.
    pub(crate) fn start(&mut self, node: usize) {
        let life = self.nodes[node].life + 1;
        let election = self.fresh_core(node, life);
        let lease = if life == 1 { Mono::ZERO } else { self.now + ms(300) };
        let disk = self.nodes[node].voter.disk.clone();
        let campaign = self.nodes[node].campaign;
        let voter = Voter::new(disk, lease);
        self.nodes[node] = Node { up: true, life, election, voter, reaches: BTreeSet::new(), campaign, due: None };
        let everybody = (0..self.plan.nodes).map(id).collect();
        self.input(node, Input::Electorate(everybody));
        self.tell_rank(node);
        self.input(node, Input::Start);
        self.connections_change();
    }

    /// `kill -9`. Those who reach the host learn at once that its process is gone.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].up = false;
        for other in 0..self.plan.nodes {
            if self.nodes[other].up && !self.cuts.contains(&(other, node)) && !self.cuts.contains(&(node, other)) {
                let after = ms(self.rng.random_range(1..8));
                self.report(other, after, Input::LeaderDead { leader: id(node) });
            }
        }
        self.connections_change();
    }

    /// The machine is gone: nobody is told anything.
    pub(crate) fn vanish(&mut self, node: usize) {
        self.nodes[node].up = false;
        self.connections_change();
    }

    /// The process stands still, and its connections seem whole: nobody is told anything else.
    pub(crate) fn pause(&mut self, node: usize) {
        self.connections_change();
        self.nodes[node].up = false;
    }

    pub(crate) fn report(&mut self, node: usize, after: Duration, input: Input) {
        let life = self.nodes[node].life;
        self.at(after, Happening::Report { node, life, input });
    }

    /// Streams notice a cut, or its end, a little later.
    pub(crate) fn connections_change(&mut self) {
        for node in 0..self.plan.nodes {
            for peer in (0..self.plan.nodes).filter(|peer| *peer != node) {
                if !self.nodes[node].up {
                    continue;
                }
                let reachable = self.fast(node, peer) && self.fast(peer, node);
                let after = ms(self.rng.random_range(2..60));
                self.report(node, after, Input::Reachable { peer: id(peer), reachable });
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, packet: Packet) {
        let bully = matches!(packet, Packet::Bully(_));
        let lost = self.loss > 0.0 && self.rng.random_bool(self.loss);
        if !self.fast(from, to) || lost || (bully && !self.plan.bully_arrives) {
            self.lost += 1;
            return;
        }
        let micros = u64::try_from(self.slowest.as_micros()).expect("a short delay");
        let delay = Duration::from_micros(self.rng.random_range(200..micros.max(201)));
        if self.loss > 0.0 && self.rng.random_bool(0.05) {
            // A network that loses also repeats, late.
            self.repeated += 1;
            self.at(delay * 3, Happening::Arrives { from, to, packet: packet.clone() });
        }
        self.at(delay, Happening::Arrives { from, to, packet });
    }

    fn send_all(&mut self, from: usize, ballot: &Ballot) {
        for to in (0..self.plan.nodes).filter(|to| *to != from) {
            self.send(from, to, Packet::Ballot(ballot.clone()));
        }
    }

    /// Lets the world run for this long.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            self.happen(happening);
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives { from, to, packet } => {
                if !self.fast(from, to) {
                    return;
                }
                match packet {
                    Packet::Bully(bytes) => {
                        let message = Message::decode(&bytes).expect("what a core says can be read");
                        self.input(to, Input::Message { from: id(from), message });
                    }
                    Packet::Ballot(ballot) => self.ballot(to, from, ballot),
                }
            }
            Happening::Tick { node, life } if self.lives(node, life) => {
                self.nodes[node].due = None;
                self.input(node, Input::Tick);
            }
            Happening::Report { node, life, input } if self.lives(node, life) => {
                if let Input::Reachable { peer, reachable } = &input {
                    let peer = place(*peer);
                    let reaches = &mut self.nodes[node].reaches;
                    if *reachable {
                        reaches.insert(peer)
                    } else {
                        reaches.remove(&peer)
                    };
                }
                self.input(node, input);
            }
            Happening::Beat { node, life, term } if self.lives(node, life) => self.beat(node, term),
            Happening::VoteEnds { node, life, campaign } if self.lives(node, life) => {
                let ended =
                    matches!(self.nodes[node].voter.role, Role::Candidate { campaign: mine, .. } if mine == campaign);
                if ended {
                    self.nodes[node].voter.role = Role::Follower;
                    self.campaigns_lost += 1;
                    self.input(node, Input::CampaignFailed);
                }
            }
            Happening::Tick { .. } | Happening::Report { .. } | Happening::Beat { .. } | Happening::VoteEnds { .. } => {
            }
        }
    }

    fn lives(&self, node: usize, life: u32) -> bool {
        self.nodes[node].up && self.nodes[node].life == life
    }

    fn tell_rank(&mut self, node: usize) {
        if self.plan.tell_freshness && self.plan.mode == Mode::Voted {
            let freshness = self.nodes[node].voter.disk.last();
            self.input(node, Input::Rank { freshness, priority: 0 });
        }
    }

    /// Hands an input to a node's core and does what it asks for.
    pub(crate) fn input(&mut self, node: usize, input: Input) {
        let now = self.now;
        self.nodes[node].election.handle(now, input);
        while let Some(output) = self.nodes[node].election.poll() {
            if self.plan.traced {
                let _ = writeln!(self.trace, "{now} {node} {output:?}");
            }
            match output {
                Output::Send { to, message } => self.send(node, place(to), Packet::Bully(message.encode())),
                Output::Campaign => self.campaign(node),
                Output::DropLease { .. } => self.nodes[node].voter.lease = now,
                Output::LeaderChanged { leader, term } => {
                    if let Some(leader) = leader.filter(|_| self.plan.mode == Mode::Voted) {
                        self.history.leads(leader, term);
                    }
                }
                Output::Transfer { to } => self.transfer(place(to)),
                Output::TransferRefused(_) => {}
            }
        }
        // A deadline that has passed already (a suspicion shortened it) is due now.
        let due = self.nodes[node].election.next_deadline().map(|at| at.max(now));
        if let Some(at) = due.filter(|at| self.plan.timers && self.nodes[node].due.is_none_or(|set| *at < set)) {
            self.nodes[node].due = Some(at);
            let life = self.nodes[node].life;
            self.at(at.saturating_since(now), Happening::Tick { node, life });
        } else if let Some(set) = self.nodes[node].due.filter(|set| *set < now) {
            unreachable!("the timer of {set} did not fire at {now}");
        }
    }

    // The vote of the voted mode.

    fn majority(&self) -> usize {
        if self.plan.flaw == Flaw::Alone { 1 } else { self.plan.nodes / 2 + 1 }
    }

    fn campaign(&mut self, node: usize) {
        let me = &mut self.nodes[node];
        if me.reaches.len() + 1 < self.plan.nodes / 2 + 1 {
            self.history.breaks(format!("{node} campaigns at {} without reaching a majority", self.now));
            return;
        }
        if me.voter.leads() {
            return;
        }
        self.campaigns += 1;
        me.campaign += 1;
        let (campaign, life) = (me.campaign, me.life);
        me.voter.role = Role::Candidate { real: false, campaign, votes: BTreeSet::from([node]) };
        let ask = Ballot::Ask { real: false, campaign, term: me.voter.disk.term + 1, last: me.voter.disk.last() };
        self.at(ms(120), Happening::VoteEnds { node, life, campaign });
        self.send_all(node, &ask);
        self.count(node);
    }

    /// A planned hand-over: the receiver skips the pre-vote, and the leases with it.
    fn transfer(&mut self, to: usize) {
        for node in &mut self.nodes {
            node.voter.lease = self.now;
        }
        self.campaign(to);
    }

    fn count(&mut self, node: usize) {
        let majority = self.majority();
        let me = &mut self.nodes[node];
        let Role::Candidate { real, campaign, votes } = &me.voter.role else { return };
        if votes.len() < majority {
            return;
        }
        let (real, campaign) = (*real, *campaign);
        if real {
            let term = me.voter.disk.term;
            me.voter.disk.log.push(term);
            let at = me.voter.disk.log.len();
            me.voter.role = Role::Leader { acks: BTreeSet::from([node]), at, reported: false };
            self.tell_rank(node);
            self.beat(node, term);
            self.acknowledged(node);
        } else {
            me.voter.observe(me.voter.disk.term + 1);
            me.voter.disk.voted = Some(node);
            me.voter.role = Role::Candidate { real: true, campaign, votes: BTreeSet::from([node]) };
            let ask = Ballot::Ask { real: true, campaign, term: me.voter.disk.term, last: me.voter.disk.last() };
            self.send_all(node, &ask);
            self.count(node);
        }
    }

    fn acknowledged(&mut self, node: usize) {
        let majority = self.majority();
        let me = &mut self.nodes[node];
        let term = me.voter.disk.term;
        let log = me.voter.disk.log.clone();
        let Role::Leader { acks, at, reported } = &mut me.voter.role else { return };
        if acks.len() < majority || *reported {
            return;
        }
        *reported = true;
        let at = *at;
        self.history.rules(&log);
        self.history.commits(&log[..at]);
        self.input(node, Input::Won { term });
    }

    fn beat(&mut self, node: usize, term: u64) {
        let me = &mut self.nodes[node];
        if !me.voter.leads() || me.voter.disk.term != term {
            return;
        }
        let Role::Leader { reported, .. } = me.voter.role else { return };
        // Writes come in; who misses their append has a shorter log.
        if reported && self.rng.random_bool(0.3) {
            me.voter.disk.log.push(term);
        }
        let (life, log) = (me.life, me.voter.disk.log.clone());
        self.tell_rank(node);
        self.at(ms(50), Happening::Beat { node, life, term });
        self.send_all(node, &Ballot::Append { term, log });
    }

    fn ballot(&mut self, node: usize, from: usize, ballot: Ballot) {
        let (now, flaw) = (self.now, self.plan.flaw);
        let me = &mut self.nodes[node].voter;
        match ballot {
            Ballot::Ask { real, campaign, term, last } => {
                let led = me.leads();
                let granted = me.grants(now, from, real, term, last, flaw);
                let reply = Ballot::Reply { real, campaign, term: me.disk.term, granted };
                if led && !me.leads() {
                    self.input(node, Input::SteppedDown { term });
                }
                self.send(node, from, Packet::Ballot(reply));
            }
            Ballot::Reply { real, campaign, term, granted } => {
                if granted {
                    if let Role::Candidate { real: stage, campaign: mine, votes } = &mut me.role
                        && *stage == real
                        && *mine == campaign
                    {
                        votes.insert(from);
                    }
                    self.count(node);
                } else if me.observe(term) {
                    self.input(node, Input::SteppedDown { term });
                }
            }
            Ballot::Append { term, log } => {
                let led = me.leads();
                if me.append(now, now + ms(300), term, log) {
                    let len = me.disk.log.len();
                    if led {
                        self.input(node, Input::SteppedDown { term });
                    }
                    self.tell_rank(node);
                    self.input(node, Input::LeaderHeard { leader: id(from), term });
                    self.send(node, from, Packet::Ballot(Ballot::Appended { term, len }));
                } else {
                    let term = me.disk.term;
                    self.send(node, from, Packet::Ballot(Ballot::Appended { term, len: 0 }));
                }
            }
            Ballot::Appended { term, len } => {
                if me.observe(term) {
                    self.input(node, Input::SteppedDown { term });
                } else if term == me.disk.term
                    && let Role::Leader { acks, at, .. } = &mut me.role
                    && len >= *at
                {
                    acks.insert(from);
                    self.acknowledged(node);
                }
            }
        }
    }

    // What a test asks.

    /// The leader that all live nodes agree on, if they do and it lives and agrees.
    pub(crate) fn agreed(&self) -> Option<(usize, u64)> {
        let mut said = self.nodes.iter().filter(|node| node.up).map(|node| node.election.leader());
        let first = said.next()??;
        let (leader, term) = (place(first.0), first.1);
        (said.all(|other| other == Some(first)) && self.nodes[leader].up).then_some((leader, term))
    }

    /// Runs until all agree; how long it took.
    pub(crate) fn run_until_agreed(&mut self, at_most: Duration) -> Option<Duration> {
        let begin = self.now;
        while self.agreed().is_none() {
            if self.now.saturating_since(begin) >= at_most {
                return None;
            }
            self.run(ms(1));
        }
        Some(self.now.saturating_since(begin))
    }
}
