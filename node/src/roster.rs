//! The members as gossip sees them, with what each node tells of itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use muster_cluster::swim::{Member, MemberState};
use muster_cluster::time::Mono;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a node tells of itself; it travels as the member's metadata.
///
/// Fields are only ever added at the end: an older node ignores what stands behind those that it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// What people call it.
    pub name: String,
    /// Its client port, `host:port`.
    pub http: String,
    /// The cluster that it is part of, once it is.
    pub cluster_id: Option<Uuid>,
    /// Who of equally fresh logs leads.
    pub priority: i32,
    /// Whether it remembers how far other voters have come, and can be asked; releases up to 2.2 cannot.
    #[serde(skip)]
    pub remembers: bool,
}

impl Card {
    /// As metadata. At most 512 bytes, for a name of at most 64 and an address of at most 300.
    pub fn encode(&self) -> Bytes {
        let mut bytes = postcard::to_stdvec(self).unwrap_or_default();
        bytes.push(self.remembers.into());
        bytes.into()
    }

    /// Whether it is part of another cluster than `own`, as far as both are part of one.
    pub fn is_of_another(&self, own: Option<Uuid>) -> bool {
        matches!((own, self.cluster_id), (Some(own), Some(theirs)) if own != theirs)
    }

    /// From metadata; `None` for what is none.
    pub fn decode(metadata: &[u8]) -> Option<Self> {
        let (card, newer) = postcard::take_from_bytes::<Self>(metadata).ok()?;
        Some(Self { remembers: newer.first() == Some(&1), ..card })
    }
}

/// A member with its card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it tells of itself; empty when that cannot be read.
    pub card: Card,
    /// Its peer port.
    pub peer: SocketAddr,
    /// What gossip says.
    pub state: MemberState,
    /// Its stamp.
    pub incarnation: u64,
    /// When it was last heard directly.
    pub last_heard: Option<Mono>,
    /// The last round trip of a probe.
    pub round_trip: Option<Duration>,
    /// Who accuses it, if it is suspected.
    pub suspected_by: Vec<Uuid>,
    /// Two live copies of it were seen.
    pub duplicate: bool,
}

/// Everybody that gossip knows, this node included, in order of the ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// By id.
    pub members: BTreeMap<Uuid, Entry>,
}

impl Roster {
    /// Reads the cards of these members.
    pub fn of<'a>(members: impl IntoIterator<Item = &'a Member>) -> Self {
        let entry = |member: &Member| Entry {
            card: Card::decode(&member.metadata).unwrap_or_default(),
            peer: member.address,
            state: member.state,
            incarnation: member.incarnation.to_bits(),
            last_heard: member.last_heard,
            round_trip: member.round_trip,
            suspected_by: member.suspected_by.clone(),
            duplicate: member.duplicate,
        };
        Self { members: members.into_iter().map(|member| (member.id, entry(member))).collect() }
    }

    /// Whether nothing but times differs.
    pub fn same_but_for_times(&self, other: &Self) -> bool {
        let still =
            |entry: &Entry| Entry { last_heard: None, round_trip: None, suspected_by: Vec::new(), ..entry.clone() };
        self.members.len() == other.members.len()
            && self.members.iter().zip(&other.members).all(|((a, x), (b, y))| a == b && still(x) == still(y))
    }

    /// A member's name, or its id when it has told none.
    pub fn name(&self, id: Uuid) -> String {
        match self.members.get(&id) {
            Some(entry) if !entry.card.name.is_empty() => entry.card.name.clone(),
            _ => id.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_survives_its_encoding_and_fields_of_the_future() {
        let card = Card {
            name: "n1".into(),
            http: "10.0.0.1:8050".into(),
            cluster_id: Some(Uuid::from_u128(7)),
            priority: -3,
            remembers: true,
        };
        let mut bytes = card.encode().to_vec();
        assert_eq!(Card::decode(&bytes), Some(card.clone()));
        bytes.extend([1, 2, 3]);
        assert_eq!(Card::decode(&bytes), Some(card));
        assert_eq!(Card::decode(&[0xff; 3]), None);
    }

    #[test]
    fn a_card_of_an_older_release_is_read() {
        let card = Card { name: "n1".into(), remembers: true, ..Card::default() };
        let mut bytes = card.encode().to_vec();
        bytes.pop();
        assert_eq!(Card::decode(&bytes), Some(Card { remembers: false, ..card }));
    }

    #[test]
    fn the_longest_card_fits_into_the_metadata() {
        let card = Card {
            name: "n".repeat(64),
            http: "h".repeat(300),
            cluster_id: Some(Uuid::from_u128(7)),
            priority: i32::MIN,
            remembers: true,
        };
        assert!(card.encode().len() <= 512);
    }
}
