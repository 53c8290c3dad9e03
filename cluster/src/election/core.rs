//! The election core: what is known, what happens when a timer fires, and what the caller reports.
//!
//! ```text
//!                 heard                              nobody outranks me
//!   Following <---------- any      +-----> Asking ----------------------> standing
//!       |                          |         |  outranked                (plain: Leading)
//!       | silent, suspected, dead  |         v                           (voted: Campaigning)
//!       +----> (leader lost) ------+     Deferring -- no victory --> standing   |      |
//!                                  ^                                            |      | won
//!                                  +--------------- Pausing <------ failed -----+      v
//!                                                                                   Leading
//! ```
//!
//! What is said between the cores is in `bully.rs`, how long a node waits for what in `waits.rs`.

use std::collections::{BTreeMap, VecDeque};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::time::Duration;
use uuid::Uuid;

use crate::time::Mono;

use super::{
    config::{Config, ConfigError, Mode},
    electorate::Electorate,
    io::{Activity, Input, Output, TransferRefused},
    message::{MAX_TERM, Message, Stance},
    rank::{Freshness, Rank},
};

/// Outputs that wait to be polled, beyond one message to each peer. Full, the oldest message to send is dropped, as a network might;
/// only a caller that never polls gets there.
const QUEUE: usize = 256;

/// What a node is doing about leadership.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Nothing is planned.
    Idle,
    /// A leader is known; `stagger` is added to the time at which this node gives it up.
    Following { stagger: Duration },
    /// This node leads; in plain mode the next heartbeat is due at `beat`.
    Leading { beat: Option<Mono> },
    /// Waiting to ask or to stand.
    Pausing { until: Mono, then: Move, why: Activity },
    /// Asked who outranks this node.
    Asking { until: Mono, answers: BTreeMap<Uuid, Stance> },
    /// Somebody else is about to win.
    Deferring { until: Mono, then: Move },
    /// The caller's vote runs.
    Campaigning { until: Mono },
}

/// What comes after a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Ask who outranks this node.
    Ask,
    /// Stand without asking (again).
    Stand,
}

/// A leader that is dead for certain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    pub(super) id: Uuid,
    pub(super) at: Mono,
}

/// The election core of one node. See the [module](super) for how to drive it.
#[derive(Debug)]
pub struct Election {
    pub(super) config: Config,
    pub(super) rng: StdRng,
    started: bool,
    pub(super) electorate: Electorate,
    pub(super) rank: Rank,
    /// The highest term seen anywhere, so that a new one is higher.
    pub(super) highest: u64,
    /// The term of the last leader that was accepted: what is lower is old.
    pub(super) floor: u64,
    pub(super) leader: Option<Uuid>,
    /// The last leader, also after it was given up.
    pub(super) last_leader: Option<Uuid>,
    heard: Mono,
    hinted: bool,
    pub(super) death: Option<Death>,
    /// Tries since there was a leader.
    pub(super) attempt: u32,
    /// The fallback was waited for once since there was a leader; it is not waited for again.
    pub(super) fell_back: bool,
    pub(super) round: u64,
    pub(super) phase: Phase,
    outputs: VecDeque<Output>,
    pub(super) ignored: u64,
}

impl Election {
    /// A core for the node `me`, with an empty electorate. Nothing happens before [`Input::Start`].
    pub fn new(me: Uuid, config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut rng = StdRng::seed_from_u64(config.seed);
        // Not from zero: an answer to a question of this node's former life must not fit one of this.
        let round = rng.random::<u64>() >> 1;
        Ok(Self {
            config,
            rng,
            started: false,
            electorate: Electorate::new(me),
            rank: Rank::plain(me),
            highest: 0,
            floor: 0,
            leader: None,
            last_leader: None,
            heard: Mono::default(),
            hinted: false,
            death: None,
            attempt: 0,
            fell_back: false,
            round,
            phase: Phase::Idle,
            outputs: VecDeque::new(),
            ignored: 0,
        })
    }

    /// Takes one event in. `now` must not go back; if it does, waits get longer and nothing else happens.
    pub fn handle(&mut self, now: Mono, input: Input) {
        match input {
            Input::Start => self.start(now),
            Input::Message { from, message } => self.message(now, from, message),
            Input::Electorate(members) => {
                self.electorate.replace(members);
                self.electorate_changed(now);
            }
            Input::Rank { freshness, priority } => self.set_rank(freshness, priority),
            Input::LeaderHeard { leader, term } => {
                self.leader_proven(now, leader, term, None);
            }
            Input::LeaderSuspected { leader } => self.suspected(leader),
            Input::LeaderDead { leader } => self.died(now, leader),
            Input::Reachable { peer, reachable } => {
                self.electorate.set_reachable(peer, reachable);
                self.majority_may_be_back(now);
            }
            Input::Won { term } => self.won(now, term),
            Input::CampaignFailed => {
                if matches!(self.phase, Phase::Campaigning { .. }) {
                    self.back_off(now, Activity::Pausing);
                }
            }
            Input::SteppedDown { term } => self.stepped_down(now, term),
            Input::Transfer { to } => self.transfer(to),
            Input::Tick => self.tick(now),
        }
    }

    /// Gives one piece of work out. Call it until it has none after each [`Election::handle`].
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the next [`Input::Tick`] is due. It changes with every input; nothing needs to be cancelled.
    pub fn next_deadline(&self) -> Option<Mono> {
        match self.phase {
            Phase::Idle => None,
            Phase::Following { stagger } => {
                let patience = if self.hinted { self.config.lease } else { self.config.window };
                Some(self.heard + patience + stagger)
            }
            Phase::Leading { beat } => beat,
            Phase::Pausing { until, .. }
            | Phase::Asking { until, .. }
            | Phase::Deferring { until, .. }
            | Phase::Campaigning { until } => Some(until),
        }
    }

    /// The leader and its term, if one is known.
    pub fn leader(&self) -> Option<(Uuid, u64)> {
        self.leader.map(|leader| (leader, self.floor))
    }

    /// This node's rank.
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// What the core is doing.
    pub fn activity(&self) -> Activity {
        match self.phase {
            Phase::Idle => Activity::Idle,
            Phase::Following { .. } => Activity::Following,
            Phase::Leading { .. } => Activity::Leading,
            Phase::Pausing { why, .. } => why,
            Phase::Asking { .. } => Activity::Asking,
            Phase::Deferring { .. } => Activity::Deferring,
            Phase::Campaigning { .. } => Activity::Campaigning,
        }
    }

    /// How many messages were ignored: from strangers, in another's name, or of a term long past.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    fn start(&mut self, now: Mono) {
        if self.started {
            return;
        }
        self.started = true;
        self.listen(now);
    }

    fn set_rank(&mut self, freshness: Freshness, priority: i32) {
        self.rank = Rank { freshness, priority, id: self.rank.id };
    }

    /// Gives a leader a window's time to be heard. A node alone has nobody to listen for.
    fn listen(&mut self, now: Mono) {
        if !self.electorate.includes_me() {
            self.phase = Phase::Idle;
            return;
        }
        let wait = if self.electorate.is_me_alone() { Duration::ZERO } else { self.config.window + self.stagger() };
        self.phase = Phase::Pausing { until: now + wait, then: Move::Ask, why: Activity::Listening };
    }

    fn electorate_changed(&mut self, now: Mono) {
        if !self.started {
            return;
        }
        let member = self.electorate.includes_me();
        match self.phase {
            Phase::Idle if member => self.listen(now),
            Phase::Idle => {}
            Phase::Leading { .. } => {
                // With a vote it is the vote's engine that says when a leader taken out has to stop.
                if !member && self.config.mode == Mode::Plain {
                    self.lose_leader();
                    self.phase = Phase::Idle;
                }
            }
            Phase::Following { .. } => match (self.leader, self.config.mode) {
                (Some(leader), Mode::Plain) if !self.electorate.contains(leader) => {
                    self.lose_leader();
                    self.pause(now, Duration::ZERO, Activity::Pausing);
                }
                (Some(leader), Mode::Voted) if !self.electorate.contains(leader) => self.suspected(leader),
                (Some(_) | None, Mode::Plain | Mode::Voted) => {}
            },
            Phase::Pausing { .. } | Phase::Asking { .. } | Phase::Deferring { .. } | Phase::Campaigning { .. } => {
                if !member {
                    self.phase = Phase::Idle;
                } else if self.electorate.is_me_alone() {
                    self.pause(now, Duration::ZERO, Activity::Pausing);
                }
            }
        }
        self.majority_may_be_back(now);
    }

    fn tick(&mut self, now: Mono) {
        // An action may set a timer that is due as well (a node alone: listen, ask, stand); three in a row is the most.
        for _ in 0..4 {
            if self.next_deadline().is_none_or(|at| at > now) {
                return;
            }
            match self.phase {
                Phase::Idle => {}
                Phase::Following { .. } => {
                    self.lose_leader();
                    self.ask(now);
                }
                Phase::Leading { .. } => {
                    self.announce();
                    self.phase = Phase::Leading { beat: Some(now + self.config.heartbeat) };
                }
                Phase::Asking { .. } => self.decide(now),
                Phase::Pausing { then, .. } | Phase::Deferring { then, .. } => match then {
                    Move::Ask => self.ask(now),
                    Move::Stand => self.stand(now),
                },
                Phase::Campaigning { .. } => self.back_off(now, Activity::Pausing),
            }
        }
    }

    /// Gives up the leader that was known, this node itself included.
    pub(super) fn lose_leader(&mut self) {
        self.hinted = false;
        if self.leader.take().is_some() {
            self.push(Output::LeaderChanged { leader: None, term: self.floor });
        }
    }

    /// Asks everybody who outranks this node.
    pub(super) fn ask(&mut self, now: Mono) {
        if !self.electorate.includes_me() {
            self.phase = Phase::Idle;
        } else if self.electorate.is_me_alone() {
            self.stand(now);
        } else if !self.able() {
            self.pause(now, self.config.window, Activity::NoMajority);
        } else {
            self.round = self.round.wrapping_add(1);
            self.phase = Phase::Asking { until: now + self.config.answer, answers: BTreeMap::new() };
            let message = Message::Election { round: self.round, term: self.highest, rank: self.rank };
            let dead = self.death.map(|death| death.id);
            let peers: Vec<Uuid> = self.electorate.peers().filter(|id| Some(*id) != dead).collect();
            for to in peers {
                self.push(Output::Send { to, message });
            }
            // The last peer may be the one that died.
            self.decide_if_all_answered(now);
        }
    }

    /// Takes the lead, or sends the caller to get it.
    pub(super) fn stand(&mut self, now: Mono) {
        match self.config.mode {
            Mode::Plain => self.lead(now, (self.highest + 1).min(MAX_TERM)),
            Mode::Voted if !self.able() => self.pause(now, self.config.window, Activity::NoMajority),
            Mode::Voted => {
                self.phase = Phase::Campaigning { until: now + self.config.campaign };
                self.push(Output::Campaign);
            }
        }
    }

    /// Whether this node may stand at all.
    pub(super) fn able(&self) -> bool {
        match self.config.mode {
            Mode::Plain => self.electorate.includes_me(),
            Mode::Voted => self.electorate.reaches_majority(),
        }
    }

    fn won(&mut self, now: Mono, term: u64) {
        self.highest = self.highest.max(term);
        let news = term > self.floor || (term == self.floor && self.leader.is_none());
        if self.config.mode == Mode::Voted && news {
            self.lead(now, term);
        }
    }

    /// This node leads in `term`.
    pub(super) fn lead(&mut self, now: Mono, term: u64) {
        self.accept(self.rank.id, term);
        let beat = match self.config.mode {
            Mode::Plain => Some(now + self.config.heartbeat),
            Mode::Voted => None,
        };
        self.phase = Phase::Leading { beat };
        self.announce();
    }

    /// Another node leads in `term`, and was heard just now.
    pub(super) fn follow(&mut self, now: Mono, leader: Uuid, term: u64) {
        let known = self.leader == Some(leader) && self.floor == term;
        if !known || !matches!(self.phase, Phase::Following { .. }) {
            self.accept(leader, term);
            self.phase = Phase::Following { stagger: self.stagger() };
        }
        self.heard = now;
        self.hinted = false;
    }

    fn accept(&mut self, leader: Uuid, term: u64) {
        let changed = self.leader != Some(leader) || self.floor != term;
        self.leader = Some(leader);
        self.last_leader = Some(leader);
        self.floor = term;
        self.highest = self.highest.max(term);
        self.hinted = false;
        self.death = None;
        self.attempt = 0;
        self.fell_back = false;
        if changed {
            self.push(Output::LeaderChanged { leader: Some(leader), term });
        }
    }

    /// A second voice against the leader: its lease is enough now.
    pub(super) fn suspected(&mut self, leader: Uuid) {
        if self.leader == Some(leader) && matches!(self.phase, Phase::Following { .. }) && !self.hinted {
            self.hinted = true;
            self.phase = Phase::Following { stagger: self.stagger() };
        }
    }

    fn died(&mut self, now: Mono, leader: Uuid) {
        let was_last = self.last_leader == Some(leader);
        if !was_last || matches!(self.phase, Phase::Leading { .. }) || self.leader.is_some_and(|other| other != leader)
        {
            return;
        }
        if self.config.mode == Mode::Voted && self.death.is_none_or(|known| known.id != leader) {
            self.push(Output::DropLease { dead: leader });
        }
        self.death = Some(Death { id: leader, at: now });
        match self.phase {
            Phase::Idle | Phase::Leading { .. } | Phase::Campaigning { .. } => {}
            Phase::Following { .. } => {
                self.lose_leader();
                self.pause(now, Duration::ZERO, Activity::Pausing);
            }
            Phase::Pausing { then: Move::Ask, .. } => self.hurry(now),
            Phase::Pausing { .. } | Phase::Deferring { .. } => {}
            Phase::Asking { .. } => self.decide_if_all_answered(now),
        }
    }

    fn stepped_down(&mut self, now: Mono, term: u64) {
        self.highest = self.highest.max(term.min(MAX_TERM));
        if matches!(self.phase, Phase::Leading { .. }) {
            self.lose_leader();
            self.listen(now);
        }
    }

    fn transfer(&mut self, to: Option<Uuid>) {
        let me = self.rank.id;
        let refusal = if !matches!(self.phase, Phase::Leading { .. }) {
            TransferRefused::NotLeader
        } else if to.is_some_and(|to| to == me || !self.electorate.contains(to)) {
            TransferRefused::NotEligible
        } else {
            let within_reach = |id: &Uuid| self.config.mode == Mode::Plain || self.electorate.is_reachable(*id);
            let best = self
                .electorate
                .peers()
                .filter(|id| to.is_none_or(|to| to == *id))
                .filter(within_reach)
                .max_by_key(|id| self.electorate.rank_of(*id).unwrap_or(Rank::plain(*id)));
            match (best, self.config.mode) {
                (Some(to), Mode::Voted) => return self.push(Output::Transfer { to }),
                (Some(to), Mode::Plain) => {
                    let message = Message::TakeOver { term: self.floor, rank: self.rank };
                    return self.push(Output::Send { to, message });
                }
                (None, Mode::Plain | Mode::Voted) => TransferRefused::NobodyReachable,
            }
        };
        self.push(Output::TransferRefused(refusal));
    }

    /// A node that waits for a majority need not wait on once it has one.
    fn majority_may_be_back(&mut self, now: Mono) {
        if matches!(self.phase, Phase::Pausing { why: Activity::NoMajority, .. }) && self.able() {
            self.hurry(now);
        }
    }

    /// Tells every peer that this node leads.
    fn announce(&mut self) {
        let message = Message::Victory { term: self.floor, rank: self.rank };
        let peers: Vec<Uuid> = self.electorate.peers().collect();
        for to in peers {
            self.push(Output::Send { to, message });
        }
    }

    pub(super) fn push(&mut self, output: Output) {
        if self.outputs.len() >= QUEUE + self.electorate.len() {
            let oldest = self.outputs.iter().position(|output| matches!(output, Output::Send { .. }));
            self.outputs.remove(oldest.unwrap_or(0));
        }
        self.outputs.push_back(output);
    }
}
