//! The roll: who is registered, until when, and where a newcomer may start.
//!
//! A function of (now, request): time is how long ago the registry started, chance is a generator that is handed in, and
//! nothing here touches a disk. What has to be remembered comes back as a [`Change`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use muster_client::api::registry::{Cluster, Clusters, Founding, Node, Nodes, Registered, Seed};
use rand::{Rng, RngExt};
use uuid::Uuid;

use crate::founding::{Charter, Verdict};
use crate::member::Member;

/// 65,536 nodes: four times the largest cluster that gossip is built for; at about 1 KiB each the memory is bounded too.
pub const MAX_NODES: usize = 65_536;
/// 4,096 recorded clusters: the file is written anew for each founding, so it has to stay small.
pub const MAX_CLUSTERS: usize = 4_096;
/// One second: how long a registry that started without a memory listens before it offers a founding or records one. In that
/// second it has to hear from somebody who has a cluster, if there is one: see `renewal`.
pub const QUIET: Duration = Duration::from_secs(1);
/// 700 ms: how soon a node of a small cluster renews. It leaves 300 ms of [`QUIET`] for a broken connection to be noticed.
const SOONEST: Duration = Duration::from_millis(700);
/// 1 ms for each node: a thousand renewals a second at most until a third of the lease is reached, and any second hears many.
const PER_NODE: Duration = Duration::from_millis(1);

/// Three: one may be dead and one may be wrong, and there is still one.
pub const SEEDS: usize = 3;

/// What the store has to remember of what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A node is new, or says something else than before.
    Entered(Member),
    /// A node is forgotten.
    Left(Uuid),
}

/// What a registration was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The node was not on the roll.
    New,
    /// It was, and says something else now.
    Changed,
    /// It was, and nothing is to be remembered.
    Renewed,
}

/// The roll is full. State unchanged; retry after the lease, when dead nodes have been forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_NODES} nodes are registered and no more are kept; retry when some have gone")]
pub struct Full;

/// What a start without any memory, or with one, brings along.
#[derive(Debug, Default)]
pub struct Memory {
    /// Whether there was any memory, empty or not.
    pub remembers: bool,
    /// The nodes of the last run.
    pub nodes: Vec<Member>,
    /// The recorded foundings by cluster name.
    pub foundings: BTreeMap<String, Founding>,
}

#[derive(Debug)]
struct Entry {
    member: Member,
    heard_at: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Roll {
    lease: Duration,
    quiet_until: Duration,
    nodes: BTreeMap<Uuid, Entry>,
    /// The same nodes by when they were last heard, so that forgetting looks only at those that it forgets.
    by_age: BTreeSet<(Duration, Uuid)>,
    charters: BTreeMap<String, Charter>,
}

impl Roll {
    /// A roll at time zero. Every remembered node has one fresh lease to renew.
    pub fn new(lease: Duration, memory: Memory) -> Self {
        let quiet_until = if memory.remembers { Duration::ZERO } else { QUIET };
        let charters =
            memory.foundings.into_iter().map(|(name, founding)| (name, Charter::new(Some(founding)))).collect();
        let mut roll = Self { lease, quiet_until, nodes: BTreeMap::new(), by_age: BTreeSet::new(), charters };
        for member in memory.nodes {
            roll.enter(Duration::ZERO, member, false);
        }
        roll
    }

    /// Registers or renews. The changes to remember come with the answer.
    pub fn register(
        &mut self,
        now: Duration,
        member: Member,
        rng: &mut impl Rng,
    ) -> Result<(Registered, Arrival), Full> {
        let known = self.nodes.get(&member.id).map(|entry| entry.member == member);
        if known.is_none() && self.nodes.len() >= MAX_NODES {
            return Err(Full);
        }
        let (id, cluster, observed_ip) = (member.id, member.cluster.clone(), member.observed_ip);
        let before = self.take(id);
        self.enter(now, member, true);
        if let Some(before) = before {
            // Only now: what is known under a name outlasts the renewal of its only node.
            self.drop_if_blank(&before.cluster);
        }
        let arrival = match known {
            None => Arrival::New,
            Some(false) => Arrival::Changed,
            Some(true) => Arrival::Renewed,
        };
        let seeds = self.seeds(&cluster, SEEDS, Some(id), rng);
        let quiet = now < self.quiet_until;
        let renewal = self.renewal(self.charters.get(&cluster).map_or(0, |charter| charter.members().len()));
        let charter = self.charters.entry(cluster).or_default();
        let answer = Registered {
            lease_ms: millis(self.lease),
            renew_ms: millis(renewal),
            observed_ip,
            seeds,
            cluster_id: charter.standing(),
            found: !quiet && charter.offer() == Some(id),
            conflict: charter.conflict(),
        };
        Ok((answer, arrival))
    }

    /// How soon each of `count` nodes of one name renews: at a third of the lease at the latest, so that two renewals may be lost.
    ///
    /// Few nodes renew sooner. A registry whose memory is wiped in the middle of their interval would otherwise offer a founding
    /// to a newcomer before it has heard of the cluster that runs; one voice is enough, and many make one likely by themselves.
    fn renewal(&self, count: usize) -> Duration {
        let spread = PER_NODE.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        spread.max(SOONEST).min(self.lease / 3)
    }

    /// Forgets a node that asks for it. Returns it if it was there.
    pub fn deregister(&mut self, id: Uuid) -> Option<Member> {
        self.remove(id)
    }

    /// Forgets all that were not heard for a lease, oldest first.
    pub fn expire(&mut self, now: Duration) -> Vec<Member> {
        let mut gone = Vec::new();
        while let Some((heard_at, id)) = self.by_age.first().copied()
            && heard_at + self.lease <= now
        {
            gone.extend(self.remove(id));
        }
        gone
    }

    /// Up to `limit` nodes of a cluster to start from, in random order; members of a cluster before newcomers, which could
    /// only wait together. Never the asker.
    pub fn seeds(&self, cluster: &str, limit: usize, asker: Option<Uuid>, rng: &mut impl Rng) -> Vec<Seed> {
        let Some(charter) = self.charters.get(cluster) else { return Vec::new() };
        // Ids are random, so the first one at or after a random id is a fair choice, found without counting.
        let pivot = Uuid::from_u128(rng.random());
        let ring = || charter.members().range(pivot..).chain(charter.members().range(..pivot));
        let others = || ring().filter(|id| Some(**id) != asker).filter_map(|id| self.nodes.get(id));
        let settled = others().filter(|entry| entry.member.cluster_id.is_some());
        let newcomers = others().filter(|entry| entry.member.cluster_id.is_none());
        settled.chain(newcomers).take(limit).map(|entry| Seed::from(&entry.member)).collect()
    }

    /// All that are registered, or those of one cluster, in order of their ids.
    pub fn nodes(&self, now: Duration, cluster: Option<&str>) -> Nodes {
        let wanted = self.nodes.values().filter(|entry| cluster.is_none_or(|name| name == entry.member.cluster));
        let shown = wanted.map(|Entry { member, heard_at }| Node {
            id: member.id,
            name: member.name.clone(),
            cluster: member.cluster.clone(),
            http: member.http.to_string(),
            peer: member.peer.to_string(),
            cluster_id: member.cluster_id,
            observed_ip: member.observed_ip,
            age_ms: millis(now.saturating_sub(*heard_at)),
        });
        Nodes { nodes: shown.collect() }
    }

    /// What is known under each name.
    pub fn clusters(&self) -> Clusters {
        let shown = self.charters.iter().map(|(name, charter)| Cluster {
            name: name.clone(),
            founding: charter.recorded().cloned(),
            seen: charter.carried().collect(),
        });
        Clusters { clusters: shown.collect() }
    }

    /// How long it is still too early to record a founding, if it is.
    pub fn quiet_for(&self, now: Duration) -> Option<Duration> {
        self.quiet_until.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// Whether a founding may be recorded; [`Roll::set_recorded`] does it once it is on disk.
    pub fn judge(&self, name: &str, wanted: &Founding) -> Verdict {
        self.charters.get(name).map_or(Verdict::Record, |charter| charter.judge(wanted))
    }

    /// Sets or takes away the record of a name.
    pub fn set_recorded(&mut self, name: &str, founding: Option<Founding>) {
        self.charters.entry(name.to_owned()).or_default().set_recorded(founding);
        self.drop_if_blank(name);
    }

    /// Clusters that are known only from the nodes that carry them, by name, each with one of those nodes in the founder's place.
    pub fn unrecorded(&self, now: Duration) -> Vec<(String, Founding)> {
        if self.quiet_for(now).is_some() {
            // A second id may yet be heard.
            return Vec::new();
        }
        let carrier = |charter: &Charter, cluster_id: Uuid| {
            let carries =
                |id: &&Uuid| self.nodes.get(*id).is_some_and(|entry| entry.member.cluster_id == Some(cluster_id));
            charter.members().iter().find(carries).copied()
        };
        let learned = self.charters.iter().filter_map(|(name, charter)| {
            if let Some(successor) = self.successor(charter) {
                return Some((name.clone(), successor));
            }
            let cluster_id = charter.unrecorded()?;
            Some((name.clone(), Founding { cluster_id, founder: carrier(charter, cluster_id)? }))
        });
        learned.collect()
    }

    /// The cluster that took the place of the recorded one, if that is the only one which anybody carries: a person had it recovered, and nobody is
    /// left of the old one.
    fn successor(&self, charter: &Charter) -> Option<Founding> {
        let recorded = charter.recorded()?.cluster_id;
        let mut carried = charter.carried();
        let (Some(cluster_id), None) = (carried.next(), carried.next()) else { return None };
        let says = |id: &&Uuid| {
            let member = self.nodes.get(*id).map(|entry| &entry.member);
            member.is_some_and(|member| member.cluster_id == Some(cluster_id) && member.replaces.contains(&recorded))
        };
        let founder = charter.members().iter().find(says).copied().filter(|_| cluster_id != recorded)?;
        Some(Founding { cluster_id, founder })
    }

    /// Every recorded founding by name.
    pub fn foundings(&self) -> BTreeMap<String, Founding> {
        let recorded = |(name, charter): (&String, &Charter)| Some((name.clone(), charter.recorded()?.clone()));
        self.charters.iter().filter_map(recorded).collect()
    }

    /// The names under which more than one id is known, with the ids.
    pub fn conflicts(&self) -> Vec<(&str, Vec<Uuid>)> {
        let conflicting = self.charters.iter().map(|(name, charter)| (name.as_str(), charter.conflict()));
        conflicting.filter(|(_, ids)| !ids.is_empty()).collect()
    }

    /// The ids in conflict under one name; nothing when there is none.
    pub fn conflict(&self, name: &str) -> Vec<Uuid> {
        self.charters.get(name).map(Charter::conflict).unwrap_or_default()
    }

    /// Every registered node, in order of the ids.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.nodes.values().map(|entry| &entry.member)
    }

    /// Where a node was last heard from.
    pub fn observed(&self, id: Uuid) -> Option<IpAddr> {
        self.nodes.get(&id).map(|entry| entry.member.observed_ip)
    }

    fn enter(&mut self, now: Duration, member: Member, heard: bool) {
        let charter = self.charters.entry(member.cluster.clone()).or_default();
        charter.enter(member.id, member.cluster_id, member.expect, heard);
        self.by_age.insert((now, member.id));
        self.nodes.insert(member.id, Entry { member, heard_at: now });
    }

    fn remove(&mut self, id: Uuid) -> Option<Member> {
        let member = self.take(id)?;
        self.drop_if_blank(&member.cluster);
        Some(member)
    }

    /// Takes a node off the roll, and leaves what is known under its name.
    fn take(&mut self, id: Uuid) -> Option<Member> {
        let Entry { member, heard_at } = self.nodes.remove(&id)?;
        self.by_age.remove(&(heard_at, id));
        if let Some(charter) = self.charters.get_mut(&member.cluster) {
            charter.leave(id, member.cluster_id);
        }
        Some(member)
    }

    fn drop_if_blank(&mut self, name: &str) {
        if self.charters.get(name).is_some_and(Charter::is_blank) {
            self.charters.remove(name);
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const LEASE: Duration = Duration::from_secs(5);

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn node(n: u128, cluster_id: Option<u128>, expect: u32) -> Member {
        Member {
            id: id(n),
            name: format!("n{n}"),
            cluster: "muster".to_owned(),
            http: "10.0.0.1:8050".parse().unwrap(),
            peer: "10.0.0.1:8051".parse().unwrap(),
            cluster_id: cluster_id.map(id),
            expect,
            replaces: Vec::new(),
            observed_ip: "10.0.0.1".parse().unwrap(),
        }
    }

    fn remembering() -> Memory {
        Memory { remembers: true, ..Memory::default() }
    }

    fn say(roll: &mut Roll, ms: u64, member: Member) -> Registered {
        roll.expire(at(ms));
        roll.register(at(ms), member, &mut StdRng::seed_from_u64(1)).unwrap().0
    }

    #[test]
    fn a_record_passes_to_the_cluster_that_took_the_place_once_nobody_carries_the_old_one() {
        let mut roll = Roll::new(LEASE, remembering());
        roll.set_recorded("muster", Some(Founding { cluster_id: id(100), founder: id(1) }));
        say(&mut roll, 0, node(1, Some(100), 1));
        say(&mut roll, 0, node(2, Some(200), 1));
        assert_eq!(roll.unrecorded(at(0)), [], "another cluster of the name that replaces nothing");
        let recovered = || Member { replaces: vec![id(100)], ..node(2, Some(200), 1) };
        say(&mut roll, 0, recovered());
        assert_eq!(roll.unrecorded(at(0)), [], "somebody is left of the old one: both are shown, none is picked");
        assert_eq!(roll.conflict("muster"), [id(100), id(200)]);
        say(&mut roll, 4_000, recovered());
        let expired = roll.expire(at(5_000));
        assert_eq!(expired.len(), 1);
        let founding = Founding { cluster_id: id(200), founder: id(2) };
        assert_eq!(roll.unrecorded(at(5_000)), [("muster".to_owned(), founding.clone())]);
        roll.set_recorded("muster", Some(founding));
        assert_eq!((roll.unrecorded(at(5_000)), roll.conflict("muster")), (vec![], vec![]));
    }

    #[test]
    fn a_record_that_a_person_took_away_stays_away_when_the_only_node_renews() {
        let mut roll = Roll::new(LEASE, remembering());
        say(&mut roll, 0, node(1, Some(100), 1));
        roll.set_recorded("muster", Some(Founding { cluster_id: id(100), founder: id(1) }));
        roll.set_recorded("muster", None);
        for ms in [700, 1_400] {
            say(&mut roll, ms, node(1, Some(100), 1));
            assert_eq!(roll.unrecorded(at(ms)), [], "it is not learned again");
        }
        say(&mut roll, 2_100, Member { cluster: "other".into(), ..node(1, Some(100), 1) });
        assert_eq!(roll.charters.keys().collect::<Vec<_>>(), ["other"], "a name that its only node left is not kept");
    }

    #[test]
    fn what_is_not_renewed_is_forgotten_and_what_is_renewed_is_not() {
        let mut roll = Roll::new(LEASE, remembering());
        say(&mut roll, 0, node(1, None, 9));
        say(&mut roll, 0, node(2, None, 9));
        say(&mut roll, 4_000, node(2, None, 9));
        assert!(roll.expire(at(4_999)).is_empty());
        assert_eq!(roll.expire(at(5_000)).iter().map(|gone| gone.id).collect::<Vec<_>>(), [id(1)]);
        assert_eq!(roll.nodes(at(6_000), None).nodes[0].age_ms, 2_000);
        assert_eq!(roll.expire(at(9_000)).len(), 1);
        assert!(roll.charters.is_empty(), "a name without anybody is not kept");
    }

    #[test]
    fn only_what_is_new_or_different_has_to_be_remembered() {
        let mut roll = Roll::new(LEASE, remembering());
        let mut arrive = |member| roll.register(at(1), member, &mut StdRng::seed_from_u64(1)).unwrap().1;
        assert_eq!(arrive(node(1, None, 9)), Arrival::New);
        assert_eq!(arrive(node(1, None, 9)), Arrival::Renewed);
        assert_eq!(arrive(node(1, Some(7), 9)), Arrival::Changed);
    }

    #[test]
    fn a_remembered_node_has_one_fresh_lease() {
        let nodes = vec![node(1, Some(100), 1)];
        let mut roll = Roll::new(LEASE, Memory { nodes, ..remembering() });
        assert!(roll.expire(at(4_999)).is_empty());
        assert_eq!(say(&mut roll, 4_999, node(2, None, 1)).cluster_id, Some(id(100)));
        assert_eq!(roll.expire(at(5_000)).len(), 1);
    }

    #[test]
    fn without_a_memory_a_second_passes_before_the_first_offer() {
        let mut roll = Roll::new(LEASE, Memory::default());
        assert!(!say(&mut roll, 0, node(1, None, 1)).found);
        assert_eq!(roll.quiet_for(at(999)), Some(at(1)));
        assert!(!say(&mut roll, 999, node(1, None, 1)).found);
        assert_eq!(roll.quiet_for(at(1_000)), None);
        assert!(say(&mut roll, 1_000, node(1, None, 1)).found);
        assert!(say(&mut Roll::new(LEASE, remembering()), 0, node(1, None, 1)).found, "with one, at once");
    }

    #[test]
    fn a_few_nodes_renew_within_the_quiet_second_and_many_at_a_third_of_the_lease() {
        let roll = Roll::new(LEASE, Memory::default());
        assert_eq!([1, 700, 1_000, 60_000].map(|count| roll.renewal(count)), [at(700), at(700), at(1_000), LEASE / 3]);
        assert!(SOONEST < QUIET);
        assert_eq!(Roll::new(at(300), Memory::default()).renewal(1), at(100), "never later than a third of the lease");
        assert_eq!(say(&mut Roll::new(LEASE, Memory::default()), 0, node(1, None, 1)).renew_ms, 700);
    }

    #[test]
    fn a_wiped_registry_learns_the_id_from_the_nodes_that_carry_it() {
        let mut roll = Roll::new(LEASE, Memory::default());
        say(&mut roll, 200, node(1, None, 1));
        say(&mut roll, 500, node(2, Some(100), 1));
        let answer = say(&mut roll, 1_500, node(1, None, 1));
        assert_eq!((answer.found, answer.cluster_id), (false, Some(id(100))));
        assert_eq!(answer.seeds[0].cluster_id, Some(id(100)));
        assert_eq!(roll.unrecorded(at(999)), [], "another id may yet be heard");
        let learned = Founding { cluster_id: id(100), founder: id(2) };
        assert_eq!(roll.unrecorded(at(1_500)), [("muster".to_owned(), learned)]);
    }

    #[test]
    fn an_offer_lapses_with_the_lease_and_goes_to_another() {
        let mut roll = Roll::new(LEASE, remembering());
        assert!(say(&mut roll, 0, node(1, None, 1)).found);
        assert!(!say(&mut roll, 1_000, node(2, None, 1)).found);
        assert!(!say(&mut roll, 4_999, node(2, None, 1)).found);
        assert!(say(&mut roll, 5_000, node(2, None, 1)).found);
        assert!(!say(&mut roll, 5_001, node(1, None, 1)).found, "back again, and too late");
    }

    #[test]
    fn nobody_is_counted_after_its_lease() {
        let mut roll = Roll::new(LEASE, remembering());
        say(&mut roll, 0, node(1, None, 2));
        assert!(!say(&mut roll, 6_000, node(2, None, 2)).found);
        assert!(!say(&mut roll, 6_001, node(3, None, 2)).found, "offered to node 2");
        assert!(say(&mut roll, 6_002, node(2, None, 2)).found);
    }

    #[test]
    fn a_recorded_cluster_is_answered_and_founded_by_nobody_else() {
        let mut roll = Roll::new(LEASE, remembering());
        let founding = Founding { cluster_id: id(100), founder: id(1) };
        assert_eq!(roll.judge("muster", &founding), Verdict::Record);
        roll.set_recorded("muster", Some(founding));
        let answer = say(&mut roll, 0, node(2, None, 1));
        assert_eq!((answer.found, answer.cluster_id), (false, Some(id(100))));
        assert!(say(&mut roll, 0, Member { cluster: "other".into(), ..node(3, None, 1) }).found, "names are apart");
    }

    #[test]
    fn a_conflict_is_answered_with_every_id_and_none_is_picked() {
        let mut roll = Roll::new(LEASE, remembering());
        say(&mut roll, 0, node(1, Some(100), 1));
        say(&mut roll, 0, node(2, Some(200), 1));
        let answer = say(&mut roll, 0, node(3, None, 1));
        assert_eq!((answer.found, answer.cluster_id), (false, None));
        assert_eq!(answer.conflict, [id(100), id(200)]);
        assert_eq!(roll.conflicts().len(), 1);
        let after = say(&mut roll, 5_000, node(2, Some(200), 1));
        assert_eq!(after.cluster_id, Some(id(200)), "once the others are forgotten, one stands");
    }

    #[test]
    fn seeds_are_others_members_first_and_differ_with_chance() {
        let mut roll = Roll::new(LEASE, remembering());
        let spread = |n: u128| n << 120;
        for n in 1..=20 {
            say(&mut roll, 0, node(spread(n), None, 99));
        }
        say(&mut roll, 0, node(spread(40), Some(100), 1));
        let pick = |seed| roll.seeds("muster", 3, Some(id(spread(1))), &mut StdRng::seed_from_u64(seed));
        let mut firsts = BTreeSet::new();
        for seed in 0..50 {
            let seeds = pick(seed);
            assert_eq!(seeds.len(), 3);
            assert_eq!(seeds[0].cluster_id, Some(id(100)));
            assert!(seeds.iter().all(|seed| seed.id != id(spread(1))));
            firsts.insert(seeds[1].id);
        }
        assert!(firsts.len() > 5, "{firsts:?}");
        assert_eq!(pick(7), pick(7), "the same chance, the same choice");
        assert!(roll.seeds("other", 3, None, &mut StdRng::seed_from_u64(1)).is_empty());
    }

    #[test]
    fn a_full_roll_renews_and_admits_nobody() {
        let mut roll = Roll::new(LEASE, remembering());
        for n in 1..=MAX_NODES as u128 {
            roll.enter(at(0), node(n, None, 1), true);
        }
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(roll.register(at(1), node(0, None, 1), &mut rng), Err(Full));
        assert!(roll.register(at(1), node(1, None, 1), &mut rng).is_ok());
    }
}
