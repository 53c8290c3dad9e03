//! Members that begin where others are: a view that many members of one process share, for simulations and tests of large
//! clusters. Each has a view of its own; what it comes to know otherwise is kept beside the snapshot.

use std::sync::Arc;

use uuid::Uuid;

use super::lww::{Life, Row};
use super::member::{Identity, MemberState};
use super::roster::Roster;
use super::table::{Base, Slot, Table};
use super::wire::VERSIONS;
use super::{Config, ConfigError, Swim};
use crate::time::Now;

/// Live members, as one or many may know them. Clones share it. The dead and suspicions are not in it.
///
/// ```
/// # use muster_cluster::{swim::*, time::{Mono, Now, Wall}};
/// # use uuid::Uuid;
/// # fn main() -> Result<(), ConfigError> {
/// # let now = Now { mono: Mono::ZERO, wall: Wall::from_millis(1_800_000_000_000) };
/// let identities: Vec<Identity> = (1..=1_000_u16)
///     .map(|number| Identity {
///         id: Uuid::from_u128(number.into()),
///         boot: number.into(),
///         address: ([10, 0, 0, 1], number).into(),
///         metadata: Default::default(),
///         last_stamp: Stamp::at(now.wall),
///     })
///     .collect();
/// let all = Snapshot::of(&identities);
/// for (identity, seed) in identities.into_iter().zip(1..) {
///     let swim = Swim::seeded(Config::lan("sim"), identity, seed, now, &all)?;
///     assert_eq!(swim.live(), 1_000);
/// #   if seed == 3 { break }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Snapshot(Arc<Base>);

impl Snapshot {
    /// Members that all live, each at its [`last_stamp`](Identity::last_stamp). Of several with one id the last counts, and of more than
    /// [`MAX_ROWS`](super::wire::MAX_ROWS) those with the lowest ids.
    pub fn of<'a>(members: impl IntoIterator<Item = &'a Identity>) -> Self {
        let rows = members.into_iter().map(|member| (member.id, Row::of(Arc::new(member.life()))));
        Self(Arc::new(Base::new(rows)))
    }

    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.rows().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Identity {
    fn life(&self) -> Life {
        Life {
            stamp: self.last_stamp,
            boot: self.boot,
            address: self.address,
            versions: VERSIONS,
            metadata: self.metadata.as_ref().into(),
        }
    }
}

impl Swim {
    /// A member that knows all of `snapshot` from the start, in O(log n) time and memory beyond what is shared. If the snapshot has it
    /// as it describes itself, with [`Identity::last_stamp`] as its stamp, it goes on with that life, which all others are taken to
    /// know: no stamp is persisted and nobody is listened to first. Otherwise it is a newcomer who has heard of others.
    ///
    /// A bound on members below those in the snapshot is raised to it.
    ///
    /// # Errors
    /// As [`Swim::new`].
    pub fn seeded(
        config: Config,
        identity: Identity,
        seed: u64,
        now: Now,
        snapshot: &Snapshot,
    ) -> Result<Self, ConfigError> {
        let max_members = config.max_members.max(snapshot.len());
        let mut swim = Self::build(Config { max_members, ..config }, identity, seed, now)?;
        let id = swim.identity.id;
        swim.set = Table::over(Arc::clone(&snapshot.0));
        swim.roster = Roster::with(snapshot.len() as Slot);
        match swim.set.get(&id).and_then(|row| row.life.clone()) {
            Some(life) if *life == swim.identity.life() => {
                if let Some(slot) = swim.set.slot(&id) {
                    swim.roster.remove(slot);
                }
                swim.go_on(life);
            }
            Some(life) => {
                // Our own row holds our own word only. What others hold of an earlier life, we hear from them.
                if let Some(slot) = swim.set.slot(&id) {
                    swim.roster.remove(slot);
                }
                swim.set.remove(&id);
                swim.own.outrank(life.stamp);
                swim.request_stamp(now);
            }
            None => swim.request_stamp(now),
        }
        Ok(swim)
    }

    /// The live members that we know, for others to begin with. Costs O(n).
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let told = |id: Uuid| id != self.identity.id || self.own.announced;
        let live = self.set.iter().filter(|(id, row)| told(*id) && row.state().is_some_and(MemberState::is_live));
        let rows = live.filter_map(|(id, row)| Some((id, Row::of(Arc::clone(row.life.as_ref()?)))));
        Snapshot(Arc::new(Base::new(rows)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::swim::{Input, Output, Stamp};
    use crate::time::{Mono, Wall};

    fn now(ms: u64) -> Now {
        Now { mono: Mono::new(std::time::Duration::from_millis(ms)), wall: Wall::from_millis(1_800_000_000_000 + ms) }
    }

    fn identities(count: u16) -> Vec<Identity> {
        let identity = |number: u16| Identity {
            id: Uuid::from_u128(number.into()),
            boot: number.into(),
            address: ([10, 0, 0, 1], number).into(),
            metadata: Bytes::from_static(b"role=worker"),
            last_stamp: Stamp::at(now(0).wall),
        };
        (1..=count).map(identity).collect()
    }

    #[test]
    fn a_seeded_member_goes_on_with_its_life_and_sees_the_others() {
        let identities = identities(100);
        let all = Snapshot::of(&identities);
        let mut swim = Swim::seeded(Config::lan("c"), identities[7].clone(), 1, now(0), &all).expect("sound");
        swim.check_invariants().expect("sound");
        assert_eq!((swim.live(), swim.members().len()), (100, 100));
        assert_eq!(swim.poll(), None, "no stamp is wanted");
        swim.handle(now(1_000), Input::Tick).expect("never refused");
        assert!(matches!(swim.poll(), Some(Output::Datagram { .. })), "it probes");
        let again = swim.snapshot();
        assert_eq!(again.0.rows(), all.0.rows());
    }

    #[test]
    fn one_with_another_life_or_unknown_is_a_newcomer() {
        let identities = identities(101);
        let all = Snapshot::of(&identities[..100]);
        let restarted = Identity { boot: 99, ..identities[7].clone() };
        for newcomer in [restarted, identities[100].clone()] {
            let last = newcomer.last_stamp;
            let mut swim = Swim::seeded(Config::lan("c"), newcomer, 1, now(0), &all).expect("sound");
            let Some(Output::PersistStamp { stamp }) = swim.poll() else { panic!("a stamp is wanted") };
            assert!(stamp > last);
            swim.handle(now(1), Input::StampPersisted { stamp }).expect("never refused");
            swim.check_invariants().expect("sound");
            assert!(swim.live() >= 100);
        }
    }
}
