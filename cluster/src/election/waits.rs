//! The waits of an election: whose turn it is, the pause before the next try, and the fallback.
//!
//! All of them carry jitter from the core's seeded generator, so that rarely two nodes move at once.

use std::time::Duration;

use rand::RngExt;

use crate::time::Mono;

use super::{
    config::Mode,
    core::{Election, Move, Phase},
    io::Activity,
};

/// How many places of rank lengthen a node's wait; further down all wait alike. With the default step that is 80 ms.
const STAGGERED: u32 = 8;

/// How often the pause between tries doubles: 30 ms becomes up to 480 ms, and the window caps it.
const DOUBLINGS: u32 = 4;

impl Election {
    /// Ends a pause early, in this node's turn.
    pub(super) fn hurry(&mut self, now: Mono) {
        let soon = now + self.stagger();
        if let Phase::Pausing { until, .. } = &mut self.phase {
            *until = soon.min(*until);
        }
    }

    /// Waits at least `wait`, and this node's turn, before it asks (again).
    pub(super) fn pause(&mut self, now: Mono, wait: Duration, why: Activity) {
        self.phase = Phase::Pausing { until: now + wait + self.stagger(), then: Move::Ask, why };
    }

    /// Waits before the next try: a random time that gets longer with each failure.
    pub(super) fn back_off(&mut self, now: Mono, why: Activity) {
        let longest = self.config.retry * 2_u32.pow(self.attempt.min(DOUBLINGS)) + self.config.retry;
        self.attempt = self.attempt.saturating_add(1);
        let wait = self.random(self.config.retry, longest).min(self.config.window);
        self.pause(now, wait, why);
    }

    /// Nobody answered although the streams reach a majority: whether that calls for the fallback, which it does once.
    pub(super) fn fall_back(&mut self, now: Mono) -> bool {
        if self.config.mode == Mode::Plain || self.fell_back {
            return false;
        }
        self.fell_back = true;
        let until = now + self.config.fallback + self.stagger();
        self.phase = Phase::Pausing { until, then: Move::Stand, why: Activity::Unanswered };
        true
    }

    /// How long this node holds back: longer the lower it ranks, with jitter.
    pub(super) fn stagger(&mut self) -> Duration {
        let except = self.leader.or(self.death.map(|death| death.id));
        let place = self.electorate.outranked_by(self.rank, except).min(STAGGERED);
        self.config.step * place + self.random(Duration::ZERO, self.config.step)
    }

    fn random(&mut self, from: Duration, below: Duration) -> Duration {
        if from >= below { from } else { self.rng.random_range(from..below) }
    }
}
