//! What happens when a statement about another member arrives: it is merged, and what changed is acted upon.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::Swim;
use super::event::Event;
use super::lww::{Life, Removal, Row};
use super::member::MemberState;
use super::round_trips::RoundTrips;
use super::suspicion::Suspicion;
use super::table::Slot;
use super::wire::Statement;
use crate::time::{Mono, Now};

/// Boot numbers that a member had before, as far as they are kept to notice that one of them comes back.
const OLD_BOOTS: usize = 4;

/// How long two copies of one identity are remembered after they last contradicted each other.
pub(super) const DUPLICATE_FOR: Duration = Duration::from_secs(60);

/// The dead are swept out at least this often; they may stay for that much longer.
const SWEEP: Duration = Duration::from_secs(60);

/// What we know of a member by ourselves, once it has spoken to us.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    pub(super) last_heard: Option<Mono>,
    pub(super) round_trips: RoundTrips,
}

/// What is remembered of those few of whom there is something to remember.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    /// The age of its row's removal: that which it had, and when it had it. Kept apart, because an age may reach back to before
    /// our own clock's origin.
    pub(super) removed: Option<(Duration, Mono)>,
    pub(super) old_boots: Vec<u64>,
    pub(super) duplicate_until: Option<Mono>,
}

impl Record {
    /// Its removal begins to age now.
    pub(super) const fn entomb(&mut self, now: Mono) {
        self.removed = Some((Duration::ZERO, now));
    }

    fn tombstone_age(&self, now: Mono) -> Duration {
        self.removed.map_or(Duration::ZERO, |(age, at)| age.saturating_add(now.saturating_since(at)))
    }
}

/// Who told us, and where it is reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Teller {
    pub(super) id: Uuid,
    pub(super) address: SocketAddr,
}

impl Swim {
    /// Takes a statement in, wherever it comes from; whether it newly accuses a member that we held to be alive.
    pub(super) fn take_in(&mut self, now: Now, statement: Statement, teller: Option<Teller>) -> bool {
        if self.clock.observe(now.wall, statement.stamp()).is_err() {
            self.stats.drifted_stamps += 1;
        }
        let id = statement.id();
        if id == self.identity.id {
            self.hear_of_ourselves(now, &statement, teller);
            return false;
        }
        let age = match &statement {
            Statement::Removed { age_secs, .. } => Duration::from_secs(u64::from(*age_secs)),
            Statement::Alive { .. } | Statement::Suspect { .. } => Duration::ZERO,
        };
        if age >= self.tombstone_told_for() {
            // Whoever does not know of it by now need not. Taken in, it would go round for ever.
            return false;
        }
        let before = self.set.get(&id);
        if before.is_none() && self.set.len() >= self.config.max_members {
            self.stats.members_refused += 1;
            return false;
        }
        if let Some(row) = before.filter(|row| !row.is_news(&statement)) {
            // Nearly all that is heard, and cheap.
            match statement {
                Statement::Alive { .. } => {}
                Statement::Suspect { stamp, by, .. } => self.confirm_suspicion(now.mono, id, stamp, &by),
                Statement::Removed { removal, .. } if row.removal() == Some(removal) => {
                    self.note_age(now.mono, id, age, false);
                }
                Statement::Removed { .. } => {}
            }
            return false;
        }
        let (life_before, state_before) = before.map_or((None, None), |row| (row.life.clone(), row.state()));
        self.set.change(id, |row| match &statement {
            Statement::Alive { life, .. } => row.add(Arc::clone(life)),
            Statement::Suspect { stamp, .. } => row.suspect(*stamp),
            Statement::Removed { removal, .. } => row.remove(*removal),
        });
        let row = self.set.get(&id).cloned().unwrap_or_default();
        let current = is_current(&row, &statement);
        if let Statement::Removed { .. } = statement {
            self.note_age(now.mono, id, age, true);
        }
        self.compare.changed();
        if current {
            self.tell_of(id);
        }
        self.note_boot(now.mono, id, life_before.as_deref(), row.life.as_deref());
        self.note_change(now, id, life_before.as_deref(), state_before, &row, &statement);
        state_before == Some(MemberState::Alive) && row.state() != state_before
    }

    /// Keeps the age of a row's removal: the highest that was heard of it. `fresh`: there was another removal before, or none.
    fn note_age(&mut self, now: Mono, id: Uuid, age: Duration, fresh: bool) {
        let record = self.records.entry(id).or_default();
        if fresh || age > record.tombstone_age(now) {
            record.removed = Some((age, now));
        }
        if fresh {
            self.set.unfade(id);
        }
    }

    /// A boot number that was replaced and comes back with a newer stamp: two copies are running. A restart does not look like
    /// that; it draws a number that nobody has seen.
    fn note_boot(&mut self, now: Mono, id: Uuid, before: Option<&Life>, after: Option<&Life>) {
        let (Some(before), Some(after)) = (before, after) else { return };
        if before.boot == after.boot {
            return;
        }
        let record = self.records.entry(id).or_default();
        let came_back = record.old_boots.contains(&after.boot);
        record.old_boots.retain(|boot| *boot != before.boot);
        record.old_boots.insert(0, before.boot);
        record.old_boots.truncate(OLD_BOOTS);
        if came_back {
            let news = record.duplicate_until.is_none();
            record.duplicate_until = Some(now + DUPLICATE_FOR);
            if news {
                self.event(Event::Duplicate { id, boots: [before.boot, after.boot] });
            }
        }
    }

    /// Acts upon a member's change of state.
    fn note_change(
        &mut self,
        now: Now,
        id: Uuid,
        life: Option<&Life>,
        before: Option<MemberState>,
        row: &Row,
        statement: &Statement,
    ) {
        use MemberState::{Alive, Failed, Left, Suspect};
        let after = row.state();
        let (was_live, is_live) = (before.is_some_and(MemberState::is_live), after.is_some_and(MemberState::is_live));
        if let Some(slot) = self.set.slot(&id).filter(|_| was_live != is_live) {
            if is_live {
                self.roster.insert(slot, &mut self.rng);
            } else {
                self.roster.remove(slot);
            }
        }
        if after == Some(Failed) {
            self.failed.insert(id);
        } else {
            self.failed.remove(&id);
        }
        match (row.suspicion(), &row.life) {
            (Some(_), Some(life)) => self.begin_suspicion(now.mono, id, life.stamp, statement),
            (None | Some(_), _) => self.conclude_suspicion(id, after.is_some_and(MemberState::is_live)),
        }
        if let Some(life) = &row.life {
            self.seeds.note_member(id, life.address);
        }
        let told_anew = match (life, &row.life) {
            (Some(before), Some(after)) => {
                (before.boot, before.address, before.versions, &before.metadata)
                    != (after.boot, after.address, after.versions, &after.metadata)
            }
            (None, _) | (_, None) => false,
        };
        let Some(member) = self.member(id) else { return };
        match (before, after) {
            (_, None) | (None, Some(Failed | Left)) | (Some(Failed | Left), Some(Failed | Left)) => {}
            (None | Some(Failed | Left), Some(Alive)) => self.event(Event::Joined(member)),
            (None | Some(Failed | Left), Some(Suspect)) => {
                self.event(Event::Joined(member.clone()));
                self.event(Event::Suspected(member));
            }
            (Some(Alive), Some(Suspect)) => self.event(Event::Suspected(member)),
            (Some(Alive | Suspect), Some(Failed)) => self.event(Event::Failed(member)),
            (Some(Alive | Suspect), Some(Left)) => self.event(Event::Left(member)),
            (Some(Suspect), Some(Alive)) => {
                self.event(Event::Refuted(member.clone()));
                if told_anew {
                    self.event(Event::Updated(member));
                }
            }
            (Some(Alive), Some(Alive)) | (Some(Suspect), Some(Suspect)) => {
                if told_anew {
                    self.event(Event::Updated(member));
                }
            }
        }
    }

    /// There is something new to tell of a member, which stands in the table.
    pub(super) fn tell_of(&mut self, id: Uuid) {
        if let Some(slot) = self.set.slot(&id) {
            self.news.news.put(slot);
        }
    }

    /// What news say of a member: what is thought of it now.
    pub(super) fn current_word(&self, now: Mono, slot: Slot) -> Option<Statement> {
        let (id, row) = self.set.at(slot)?;
        let accusation = match row.standing_removal() {
            Some(_) => self.removal_of(now, id, row),
            None => self.suspicion_of(id, row),
        };
        accusation.or_else(|| Some(Statement::Alive { id, life: Arc::clone(row.life.as_ref()?) }))
    }

    /// What the full state says of a member. Removals that a newer life has outlived go along: they are in the dictionaries. A removal
    /// comes before the life that it ends, so that nobody sees the dead rise while reading.
    pub(super) fn statements(&self, now: Mono, id: Uuid, row: &Row) -> impl Iterator<Item = Statement> + use<> {
        let told = self.records.get(&id).is_none_or(|record| record.tombstone_age(now) < self.tombstone_told_for());
        // A dead one whose tombstone is told no more is not told of at all: without it, it would seem alive.
        let silent = !told && row.standing_removal().is_some();
        let ours = id == self.identity.id;
        let life = row.life.as_ref().filter(|_| !silent && (!ours || self.own.announced));
        let alive = life.map(|life| Statement::Alive { id, life: Arc::clone(life) });
        let (suspicion, removal) = (self.suspicion_of(id, row), self.removal_of(now, id, row));
        // A suspicion comes behind the life that it is of: so its accusers are known for what they are.
        [removal.filter(|_| told), alive, suspicion].into_iter().flatten()
    }

    /// Tombstones are told of for three quarters of their time, and kept for all of it: as long as members count it alike within the
    /// last quarter, none hears of a removal again that it has just forgotten.
    fn tombstone_told_for(&self) -> Duration {
        self.config.tombstone_ttl / 4 * 3
    }

    /// The accusation that stands against a member, for it to hear first. (A suspicion, that is Lifeguard's Buddy System, section IV-C.)
    fn accusation(&self, now: Mono, id: Uuid, row: &Row) -> Option<Statement> {
        match row.standing_removal() {
            Some(_) => self.removal_of(now, id, row),
            None => self.suspicion_of(id, row).filter(|_| self.config.lifeguard.buddy),
        }
    }

    /// What a member should hear first from us: what it is accused of; or, when it speaks from another address than we have for it, the
    /// life that we have. If that is its own, it knows better than we; if not, there are two of it.
    pub(super) fn word_about(&self, now: Mono, id: Uuid, row: &Row, address: SocketAddr) -> Option<Statement> {
        self.accusation(now, id, row).or_else(|| {
            let life = row.life.as_ref()?;
            (id != self.identity.id && life.address != address).then(|| Statement::Alive { id, life: Arc::clone(life) })
        })
    }

    fn suspicion_of(&self, id: Uuid, row: &Row) -> Option<Statement> {
        let stamp = row.suspicion()?;
        let accusers = self.suspicions.running(id).map(Suspicion::accusers).unwrap_or_default();
        let by = if accusers.is_empty() { vec![self.identity.id] } else { accusers.to_vec() };
        Some(Statement::Suspect { id, stamp, by })
    }

    fn removal_of(&self, now: Mono, id: Uuid, row: &Row) -> Option<Statement> {
        let removal: Removal = row.removal()?;
        let age = self.records.get(&id).map_or(Duration::ZERO, |record| record.tombstone_age(now));
        (age < self.config.tombstone_ttl).then(|| Statement::Removed {
            id,
            removal,
            age_secs: u32::try_from(age.as_secs()).unwrap_or(u32::MAX),
        })
    }

    pub(super) fn sweep_interval(&self) -> Duration {
        SWEEP.min(self.config.broadcast_age).min(self.config.tombstone_ttl / 4)
    }

    /// Forgets what has had its time: broadcasts, tombstones, doubles.
    pub(super) fn sweep(&mut self, now: Now) {
        self.stats.broadcasts_dropped += self.news.expire(now.mono);
        self.own.forget_double(now.mono);
        let told_for = self.tombstone_told_for();
        let (mut over, mut fading) = (Vec::new(), Vec::new());
        for (id, record) in &mut self.records {
            record.duplicate_until = record.duplicate_until.filter(|until| *until > now.mono);
            let age = record.tombstone_age(now.mono);
            if record.removed.is_some() && age >= self.config.tombstone_ttl {
                record.removed = None;
                over.push(*id);
            } else if record.removed.is_some() && age >= told_for {
                fading.push(*id);
            }
        }
        fading.into_iter().for_each(|id| self.set.fade(id));
        for id in over {
            let Some(row) = self.set.get(&id) else { continue };
            if row.standing_removal().is_none() {
                // A newer life goes on.
                self.set.change(id, Row::forget_removal);
                self.set.unfade(id);
                continue;
            }
            if id == self.identity.id {
                // We have left, and slept through all that was to follow: we are not forgotten while we are asked who we are.
                continue;
            }
            let known = row.life.is_some();
            if let Some(slot) = self.set.slot(&id) {
                self.news.news.forget(slot);
                self.peers.remove(&slot);
            }
            self.set.remove(&id);
            self.failed.remove(&id);
            self.records.remove(&id);
            if known {
                self.event(Event::Forgotten { id });
            }
        }
    }
}

/// Whether the statement is what is now thought of the member, and not about a life that is over anyway: only that is news.
fn is_current(row: &Row, statement: &Statement) -> bool {
    match statement {
        Statement::Alive { .. } => row.state().is_some_and(MemberState::is_live),
        Statement::Suspect { stamp, .. } => row.suspicion() == Some(*stamp),
        Statement::Removed { removal, .. } => row.standing_removal() == Some(*removal),
    }
}
