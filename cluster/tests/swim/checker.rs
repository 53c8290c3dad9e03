//! What may never happen, whatever the network does: a life that ended comes back, or one appears that its owner never began.

use std::collections::{BTreeMap, BTreeSet};

use muster_cluster::swim::{Event, Member, Stamp};
use uuid::Uuid;

#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// Per observer, the highest life that it saw end.
    ended: BTreeMap<(String, Uuid), Stamp>,
    /// Every stamp that reached its owner's disk.
    begun: BTreeSet<(Uuid, Stamp)>,
    pub(crate) broken: Vec<String>,
}

impl Checker {
    /// An observer starts with an empty memory.
    pub(crate) fn started(&mut self, observer: &str) {
        self.ended.retain(|(other, _), _| other != observer);
    }

    pub(crate) fn persisted(&mut self, id: Uuid, stamp: Stamp) {
        self.begun.insert((id, stamp));
    }

    pub(crate) fn heard(&mut self, observer: &str, event: &Event) {
        match event {
            Event::Joined(member) | Event::Updated(member) | Event::Refuted(member) => self.lives(observer, member),
            Event::Failed(member) | Event::Left(member) => {
                let ended = self.ended.entry((observer.to_owned(), member.id)).or_default();
                *ended = member.incarnation.max(*ended);
            }
            Event::Forgotten { id } => {
                self.ended.remove(&(observer.to_owned(), *id));
            }
            Event::Suspected(_)
            | Event::Broadcast { .. }
            | Event::Message { .. }
            | Event::Synced { .. }
            | Event::SetBack { .. }
            | Event::Duplicate { .. }
            | Event::LeaveDone { .. } => {}
        }
    }

    fn lives(&mut self, observer: &str, member: &Member) {
        let (id, stamp) = (member.id, member.incarnation);
        if self.ended.get(&(observer.to_owned(), id)).is_some_and(|ended| stamp <= *ended) {
            self.broken.push(format!("{observer} saw {id} rise from the dead at {stamp}"));
        }
        if !self.begun.contains(&(id, stamp)) {
            self.broken.push(format!("{observer} saw {id} live at {stamp}, a stamp that its owner never had"));
        }
    }
}

#[test]
fn the_checker_bites() {
    use muster_cluster::swim::{MemberState, wire::VERSIONS};
    let member = |stamp| Member {
        id: Uuid::from_u128(1),
        address: "10.0.0.1:1".parse().expect("an address"),
        metadata: Default::default(),
        boot: 1,
        versions: VERSIONS,
        state: MemberState::Alive,
        incarnation: Stamp::from_bits(stamp),
        last_heard: None,
        round_trip: None,
        suspected_by: Vec::new(),
        duplicate: false,
    };
    let mut checker = Checker::default();
    checker.persisted(Uuid::from_u128(1), Stamp::from_bits(1));
    checker.persisted(Uuid::from_u128(1), Stamp::from_bits(2));
    checker.heard("n2", &Event::Joined(member(1)));
    checker.heard("n2", &Event::Failed(member(1)));
    checker.heard("n3", &Event::Joined(member(1)));
    checker.heard("n2", &Event::Joined(member(2)));
    assert!(checker.broken.is_empty(), "{:?}", checker.broken);
    checker.heard("n2", &Event::Failed(member(2)));
    checker.heard("n2", &Event::Joined(member(2)));
    checker.heard("n2", &Event::Joined(member(3)));
    assert_eq!(checker.broken.len(), 2, "{:?}", checker.broken);
}
