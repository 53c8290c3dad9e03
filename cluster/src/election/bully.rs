//! What the cores say to each other: questions, answers, victories, and what follows from them.

use uuid::Uuid;

use crate::time::Mono;

use super::{
    config::Mode,
    core::{Election, Move, Phase},
    io::{Activity, Output},
    message::{Message, Stance},
    rank::Rank,
};

impl Election {
    /// A peer's message.
    pub(super) fn message(&mut self, now: Mono, from: Uuid, message: Message) {
        // Nobody speaks for another, and a message that came back to its sender says nothing.
        if message.sender() != from || from == self.rank.id {
            self.ignored += 1;
            return;
        }
        self.electorate.note_rank(message.rank());
        match message {
            Message::Election { round, term, rank } => self.asked(now, round, term, rank),
            Message::Answer { round, term, rank, stance } => self.answered(now, round, term, rank, stance),
            Message::Victory { term, rank } => self.victory(now, term, rank),
            Message::TakeOver { term, rank } => self.take_over(now, term, rank),
        }
    }

    /// Somebody has no leader and wants to know who outranks it.
    fn asked(&mut self, now: Mono, round: u64, term: u64, asker: Rank) {
        if !self.electorate.contains(asker.id) || !self.electorate.includes_me() || matches!(self.phase, Phase::Idle) {
            self.ignored += 1;
            return;
        }
        self.highest = self.highest.max(term);
        if self.leader == Some(asker.id) {
            // Our leader asks for a leader: it has forgotten that it was one.
            self.lose_leader();
            self.pause(now, self.config.answer, Activity::Pausing);
        }
        if matches!(self.phase, Phase::Leading { .. }) && self.config.mode == Mode::Plain {
            if term > self.floor {
                // The asker knows a later leader than this one, now lost, and would not follow an older term.
                self.lead(now, self.highest.saturating_add(1).min(super::MAX_TERM));
            } else {
                self.push(Output::Send {
                    to: asker.id,
                    message: Message::Victory { term: self.floor, rank: self.rank },
                });
            }
            return;
        }
        let stance = match self.leader {
            Some(leader) => Stance::Follows { leader, term: self.floor },
            None if self.able() => Stance::Contends,
            None => Stance::Aside,
        };
        let answer = Message::Answer { round, term: self.highest, rank: self.rank, stance };
        self.push(Output::Send { to: asker.id, message: answer });
        match (&self.phase, asker > self.rank) {
            // The asker is the second voice against our leader.
            (Phase::Following { .. }, _) => {
                if let Some(leader) = self.leader {
                    self.suspected(leader);
                }
            }
            // It stands, and outranks us. If its turn has come before, ours comes first this time: no wait is made longer.
            (Phase::Pausing { .. } | Phase::Asking { .. } | Phase::Campaigning { .. }, true) => {
                self.phase = Phase::Deferring { until: now + self.config.victory + self.stagger(), then: Move::Stand };
            }
            // We outrank it and take over.
            (Phase::Pausing { then: Move::Ask, .. }, false) if self.able() => self.hurry(now),
            (
                Phase::Idle
                | Phase::Leading { .. }
                | Phase::Pausing { .. }
                | Phase::Asking { .. }
                | Phase::Deferring { .. }
                | Phase::Campaigning { .. },
                _,
            ) => {}
        }
    }

    /// An answer to our question.
    fn answered(&mut self, now: Mono, round: u64, term: u64, rank: Rank, stance: Stance) {
        let asked = round == self.round && self.electorate.contains(rank.id);
        let Phase::Asking { answers, .. } = &mut self.phase else {
            return;
        };
        if !asked {
            self.ignored += 1;
            return;
        }
        self.highest = self.highest.max(term);
        // Who follows the dead, or us (of a former life), will notice soon; it neither stands nor has a leader to be kept.
        let gone = self.death.map(|death| death.id);
        let stance = match stance {
            Stance::Follows { leader, .. } if Some(leader) == gone || leader == self.rank.id => Stance::Aside,
            other @ (Stance::Follows { .. } | Stance::Contends | Stance::Aside) => other,
        };
        answers.insert(rank.id, stance);
        let wait = match stance {
            Stance::Contends if rank > self.rank => Some(Move::Stand),
            // There is a newer leader than any we heard. It will be heard, or we ask again.
            Stance::Follows { term, .. } if term > self.floor => Some(Move::Ask),
            Stance::Contends | Stance::Aside | Stance::Follows { .. } => None,
        };
        match wait {
            Some(then) => {
                self.phase = Phase::Deferring { until: now + self.config.victory + self.stagger(), then };
            }
            None => self.decide_if_all_answered(now),
        }
    }

    /// Whether somebody that could still answer has not.
    fn somebody_missing(&self) -> bool {
        let Phase::Asking { answers, .. } = &self.phase else {
            return false;
        };
        let dead = self.death.map(|death| death.id);
        let plain = self.config.mode == Mode::Plain;
        // The silence of a leader is why it was just given up, and the vote needs no word of it; but somebody's word there must be.
        let silent = self.last_leader.filter(|_| !plain && self.attempt == 0 && !answers.is_empty());
        self.electorate
            .peers()
            .filter(|id| Some(*id) != dead && Some(*id) != silent)
            .filter(|id| plain || self.electorate.is_reachable(*id))
            .any(|id| !answers.contains_key(&id))
    }

    /// There is nothing to wait for once everybody has answered.
    pub(super) fn decide_if_all_answered(&mut self, now: Mono) {
        if matches!(self.phase, Phase::Asking { .. }) && !self.somebody_missing() {
            self.decide(now);
        }
    }

    /// The answers are in, or the time for them is over, and nobody who stands outranks us.
    pub(super) fn decide(&mut self, now: Mono) {
        let missing = self.somebody_missing();
        let Phase::Asking { answers, .. } = &self.phase else {
            return;
        };
        let unanswered = answers.is_empty() && missing;
        let following = answers.values().filter(|stance| matches!(stance, Stance::Follows { .. })).count();
        let kept = match self.config.mode {
            // A leader that somebody still hears is not pushed aside.
            Mode::Plain => following > 0,
            Mode::Voted => self.electorate.len() - following < self.electorate.majority(),
        };
        if kept {
            self.back_off(now, Activity::OthersFollow);
        } else if unanswered && self.fall_back(now) {
            // Waits.
        } else if missing && self.config.mode == Mode::Voted {
            // Who did not answer may outrank us, and may have asked at the same time.
            let until = now + self.stagger();
            self.phase = Phase::Pausing { until, then: Move::Stand, why: Activity::Pausing };
        } else {
            self.stand(now);
        }
    }

    /// Somebody says that it leads.
    fn victory(&mut self, now: Mono, term: u64, rank: Rank) {
        match self.config.mode {
            // With a vote a victory is news once; after that only the caller's proofs show that the leader still leads. Otherwise
            // a leader whose replication is cut could hold its place by datagrams alone.
            Mode::Voted if term <= self.floor => {}
            Mode::Voted => {
                self.leader_proven(now, rank.id, term, Some(rank));
            }
            Mode::Plain if !self.electorate.contains(rank.id) => self.ignored += 1,
            Mode::Plain => {
                let accepted = self.leader_proven(now, rank.id, term, Some(rank));
                if !accepted && matches!(self.phase, Phase::Leading { .. }) {
                    let message = Message::Victory { term: self.floor, rank: self.rank };
                    self.push(Output::Send { to: rank.id, message });
                }
            }
        }
    }

    /// The leader wants this node in its place.
    fn take_over(&mut self, now: Mono, term: u64, from: Rank) {
        let entitled = self.leader == Some(from.id) && self.floor == term && self.electorate.includes_me();
        if entitled && self.config.mode == Mode::Plain {
            self.stand(now);
        } else {
            self.ignored += 1;
        }
    }

    /// Proof that somebody leads. The higher (term, rank) stays; says whether this one did.
    pub(super) fn leader_proven(&mut self, now: Mono, leader: Uuid, term: u64, rank: Option<Rank>) -> bool {
        self.highest = self.highest.max(term.min(super::MAX_TERM));
        let dead_lately = self.death.is_some_and(|death| {
            death.id == leader && term <= self.floor && now < death.at + self.config.heartbeat * 2
        });
        // This node knows for itself whether it leads, and a heartbeat may come late out of a dead leader's socket.
        if leader == self.rank.id || term < self.floor || dead_lately {
            self.ignored += 1;
            return false;
        }
        if let Some(current) = self.leader.filter(|current| *current != leader && term == self.floor) {
            let outranks = match self.config.mode {
                // The vote elects one leader a term; a second one is a mistake of whoever says so.
                Mode::Voted => false,
                Mode::Plain => self.rank_for(leader, rank) > self.rank_for(current, None),
            };
            if !outranks {
                self.ignored += 1;
                return false;
            }
        }
        self.follow(now, leader, term);
        true
    }

    fn rank_for(&self, id: Uuid, told: Option<Rank>) -> Rank {
        if id == self.rank.id {
            return self.rank;
        }
        told.or_else(|| self.electorate.rank_of(id)).unwrap_or(Rank::plain(id))
    }
}
