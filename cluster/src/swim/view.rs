//! What can be read off a member: the others, the dictionaries, the counters.

use bytes::Bytes;
use uuid::Uuid;

use super::lww::Row;
use super::member::{Member, MemberState};
use super::{State, Stats, Swim, wire};

impl Swim {
    /// Our id.
    #[must_use]
    pub const fn id(&self) -> Uuid {
        self.identity.id
    }

    /// The hash of our cluster's name, for stream prefaces.
    #[must_use]
    pub const fn cluster_hash(&self) -> wire::ClusterHash {
        self.cluster
    }

    /// Whether the full state was exchanged with anybody since the start.
    #[must_use]
    pub const fn is_synced(&self) -> bool {
        self.own.synced
    }

    /// Whether the cluster has seen stamps of ours that our disk knows nothing of; see
    /// [`Event::SetBack`](super::Event::SetBack).
    #[must_use]
    pub const fn is_set_back(&self) -> bool {
        self.own.set_back
    }

    /// All members that are known, ourselves (once our first stamp is on the disk) and the dead included, in order of
    /// their ids.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.set.iter().filter_map(|(id, row)| self.describe(id, row)).collect()
    }

    /// One member.
    #[must_use]
    pub fn member(&self, id: Uuid) -> Option<Member> {
        self.describe(id, self.set.get(&id)?)
    }

    /// How many live members there are, ourselves included.
    #[must_use]
    pub fn live(&self) -> usize {
        self.roster.len() + 1
    }

    /// The two dictionaries.
    #[must_use]
    pub fn state(&self) -> State {
        let mut state = State::default();
        for (id, row) in self.set.iter() {
            if let Some(life) = &row.life {
                state.add_set.insert(id, (life.address, life.stamp));
            }
            if let Some(removal) = row.removal() {
                state.remove_set.insert(id, (row.life.as_ref().map(|life| life.address), removal.stamp));
            }
        }
        state
    }

    /// Counters for people and for `/metrics`.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        Stats { health: self.health.score(), ..self.stats }
    }

    fn describe(&self, id: Uuid, row: &Row) -> Option<Member> {
        let (life, state) = (row.life.as_ref()?, row.state()?);
        let peer = self.set.slot(&id).and_then(|slot| self.peers.get(&slot));
        let doubled = if id == self.identity.id {
            self.own.duplicate_until
        } else {
            self.records.get(&id).and_then(|record| record.duplicate_until)
        };
        Some(Member {
            id,
            address: life.address,
            metadata: Bytes::copy_from_slice(&life.metadata),
            boot: life.boot,
            versions: life.versions,
            state,
            incarnation: life.stamp,
            last_heard: peer.and_then(|peer| peer.last_heard),
            round_trip: peer.and_then(|peer| peer.round_trips.last()),
            suspected_by: self.suspicions.running(id).map(|running| running.accusers().to_vec()).unwrap_or_default(),
            duplicate: doubled.is_some(),
        })
    }

    /// What must be true between any two inputs; for tests.
    ///
    /// # Errors
    /// What is not.
    #[doc(hidden)]
    pub fn check_invariants(&self) -> Result<(), String> {
        let mut probed: Vec<Uuid> = self.roster.iter().filter_map(|slot| self.set.id_at(slot)).collect();
        probed.sort();
        let live: Vec<Uuid> = self
            .set
            .iter()
            .filter(|(id, row)| *id != self.identity.id && row.state().is_some_and(MemberState::is_live))
            .map(|(id, _)| id)
            .collect();
        if probed != live {
            return Err(format!("the roster {probed:?} is not the live members {live:?}"));
        }
        for (id, row) in self.set.iter() {
            let running = self.suspicions.running(id).map(|running| running.stamp);
            if running != row.suspicion().and(row.life.as_ref()).map(|life| life.stamp) {
                return Err(format!("the suspicion of {id} does not fit {row:?}"));
            }
            let entombed = self.records.get(&id).is_some_and(|record| record.removed.is_some());
            if !self.leaving.has_begun() && row.removal().is_some() != entombed {
                return Err(format!("the tombstone of {id} has no age"));
            }
        }
        if self.set.sums().all() != self.set.digest_anew() {
            return Err("the digest is not that of the rows".to_owned());
        }
        if self.set.len() > self.config.max_members
            || self.peers.keys().any(|slot| self.set.at(*slot).is_none())
            || self.records.keys().any(|id| !self.set.contains_key(id))
        {
            return Err("records beyond the bound, or of nobody".to_owned());
        }
        let own = self.set.get(&self.identity.id).and_then(|row| row.life.as_ref());
        if own != self.own.life.as_ref() {
            return Err("our own row is not our own word".to_owned());
        }
        Ok(())
    }
}
