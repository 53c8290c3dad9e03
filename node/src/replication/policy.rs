//! Who replicates and who votes: the rules by which the group grows and heals, as a function of what the leader sees.
//!
//! The group never shrinks or swells by accident: gossip and time only propose, every change is a committed membership of
//! openraft's, and one is made at a time.
//! 1. A change that was interrupted half way is finished first.
//! 2. A live member that does not replicate yet becomes a learner; learners that left for good, or stay dead, are forgotten.
//! 3. A learner that has caught up becomes a voter while seats are free and no voter is dead: each has answered since.
//! 4. While a voter is dead, a learner may only take its place, in one change, after `replace_after`.
//! 5. When the wanted number of voters was lowered, and none is dead, the surplus becomes learners.
//! 6. Who was deliberately taken out for good goes, as long as the live voters are a majority before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

/// A learner this close to the end of the log is caught up: at the usual pace that is a fraction of a second.
pub(crate) const CAUGHT_UP: u64 = 1_000;
/// How long a learner that would make the number of voters even waits for another one. Two voters tolerate no more failures than one, so
/// newcomers are promoted in pairs where they can be.
pub(crate) const PAIR_WAIT: Duration = Duration::from_secs(2);

/// What the leader sees. All durations are by its own monotonic clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// The leader itself; always a voter.
    pub(crate) leader: Uuid,
    /// The voters of the effective membership.
    pub(crate) voters: BTreeSet<Uuid>,
    /// The learners, with how many entries they are behind (`None`: unknown, or a snapshot is on its way).
    pub(crate) learners: BTreeMap<Uuid, Option<u64>>,
    /// Whether the membership is a joint one.
    pub(crate) joint: bool,
    /// What gossip and replication say of every node that either knows; the leader is among them.
    pub(crate) nodes: BTreeMap<Uuid, Node>,
    /// How many are to vote.
    pub(crate) wanted_voters: usize,
    /// How long a voter is dead before a learner takes its place.
    pub(crate) replace_after: Duration,
}

/// A node as the leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    /// Whether gossip sees it alive or replication reaches it, or for how long neither.
    pub(crate) life: Life,
    /// Whether it may replicate here: it has no cluster yet, or this one, and has not been taken out for good.
    pub(crate) eligible: bool,
    /// For how long it has been caught up without a break; only learners.
    pub(crate) caught_up_for: Duration,
    /// How long ago replication reached it last.
    pub(crate) silent_for: Duration,
}

/// Whether a node lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It answers gossip or replication.
    Alive,
    /// Gossip doubts it.
    Doubtful,
    /// Neither has reached it for so long.
    Dead(Duration),
}

/// One change of the membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Finish a joint change.
    Finish,
    /// Let these replicate, as learners.
    AddLearners(BTreeSet<Uuid>),
    /// Let these replicate no more.
    Forget(BTreeSet<Uuid>),
    /// Let exactly these vote, the leader among them; who voted before and is not named becomes a learner.
    SetVoters(BTreeSet<Uuid>),
}

/// The next change, if one is due.
pub(crate) fn next_change(view: &View) -> Option<Change> {
    if view.joint {
        return Some(Change::Finish);
    }
    newcomers(view).or_else(|| retire(view)).or_else(|| voters(view)).or_else(|| lost_learners(view))
}

fn newcomers(view: &View) -> Option<Change> {
    let replicates = |id: &Uuid| view.voters.contains(id) || view.learners.contains_key(id);
    let new = view.nodes.iter().filter(|(id, node)| node.eligible && node.life == Life::Alive && !replicates(id));
    let new: BTreeSet<Uuid> = new.map(|(id, _)| *id).collect();
    (!new.is_empty()).then_some(Change::AddLearners(new))
}

/// Takes a voter out that was deliberately taken out for good, as long as a majority lives before and after. The leader
/// hands over first.
fn retire(view: &View) -> Option<Change> {
    let retired = |id: &&Uuid| **id != view.leader && view.nodes.get(*id).is_some_and(|node| !node.eligible);
    let live = |id: &&Uuid| view.nodes.get(*id).is_some_and(|node| node.life == Life::Alive);
    let live: BTreeSet<Uuid> = view.voters.iter().filter(live).copied().collect();
    let out = *view.voters.iter().filter(retired).find(|id| may_leave(&view.voters, &live, **id))?;
    let mut voters = view.voters.clone();
    voters.remove(&out);
    Some(Change::SetVoters(voters))
}

fn lost_learners(view: &View) -> Option<Change> {
    let gone = |id: &&Uuid| match view.nodes.get(id) {
        Some(node) => !node.eligible || matches!(node.life, Life::Dead(since) if since >= view.replace_after),
        None => false,
    };
    let lost: BTreeSet<Uuid> = view.learners.keys().filter(gone).copied().collect();
    (!lost.is_empty()).then_some(Change::Forget(lost))
}

fn voters(view: &View) -> Option<Change> {
    let life = |id: &Uuid| view.nodes.get(id).map_or(Life::Doubtful, |node| node.life);
    let dead: Vec<Uuid> = view.voters.iter().filter(|id| life(id) != Life::Alive).copied().collect();
    if !dead.is_empty() {
        return replace(view, &dead);
    }
    let seats = view.wanted_voters.max(1);
    if view.voters.len() > seats {
        return Some(demote(view, seats));
    }
    promote(view, seats - view.voters.len())
}

/// Live learners that have caught up, those first that have been so for longest.
fn ready(view: &View) -> Vec<(Uuid, Duration)> {
    let caught_up = view.learners.iter().filter(|(_, lag)| lag.is_some_and(|lag| lag <= CAUGHT_UP));
    let nodes = caught_up.filter_map(|(id, _)| view.nodes.get(id).map(|node| (*id, node)));
    let live = nodes.filter(|(_, node)| node.eligible && node.life == Life::Alive);
    let mut ready: Vec<(Uuid, Duration)> = live.map(|(id, node)| (id, node.caught_up_for)).collect();
    ready.sort_by_key(|(id, since)| (std::cmp::Reverse(*since), *id));
    ready
}

fn promote(view: &View, seats: usize) -> Option<Change> {
    // A voter that has just died still counts as alive. Who came back in its place, with an empty disk, would get a seat beside it, and the dead
    // one would keep its own for good.
    let others = view.voters.iter().filter(|id| **id != view.leader).filter_map(|id| view.nodes.get(id));
    let silence = others.map(|voter| voter.silent_for).max().unwrap_or_default();
    let mut ready = ready(view);
    ready.retain(|(_, since)| *since >= silence);
    let mut count = ready.len().min(seats);
    let would_be_even = (view.voters.len() + count).is_multiple_of(2);
    if would_be_even && count > 0 {
        // The last one waits a while for another, unless no seat would be left for that one anyway.
        let patient = seats > count && ready[count - 1].1 < PAIR_WAIT;
        if patient {
            count -= 1;
        }
    }
    if count == 0 {
        return None;
    }
    let mut voters = view.voters.clone();
    voters.extend(ready[..count].iter().map(|(id, _)| *id));
    Some(Change::SetVoters(voters))
}

/// Puts a learner into the place of the voter that has been dead for longest, when it has been so for long enough.
fn replace(view: &View, dead: &[Uuid]) -> Option<Change> {
    let long_dead = dead.iter().filter_map(|id| match view.nodes.get(id).map(|node| node.life) {
        Some(Life::Dead(since)) if since >= view.replace_after => Some((since, *id)),
        _ => None,
    });
    let (_, out) = long_dead.max()?;
    let (replacement, _) = *ready(view).first()?;
    let mut voters = view.voters.clone();
    voters.remove(&out);
    voters.insert(replacement);
    Some(Change::SetVoters(voters))
}

/// Keeps the leader and the lowest ids.
fn demote(view: &View, seats: usize) -> Change {
    let others = view.voters.iter().filter(|id| **id != view.leader).take(seats - 1);
    let voters = others.copied().chain([view.leader]).collect();
    Change::SetVoters(voters)
}

/// How many more voters may fail before no majority is left.
pub(crate) fn failures_tolerated(voters: usize, live: usize) -> usize {
    live.saturating_sub(voters / 2 + 1)
}

/// Whether the live voters are a majority before and after `out` stops voting. `live` counts `out` if it lives.
pub(crate) fn may_leave(voters: &BTreeSet<Uuid>, live: &BTreeSet<Uuid>, out: Uuid) -> bool {
    let majority = |voters: &BTreeSet<Uuid>| voters.intersection(live).count() > voters.len() / 2;
    let mut after = voters.clone();
    after.remove(&out);
    majority(voters) && !after.is_empty() && after.intersection(live).count() > after.len() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIVE: Node = Node {
        life: Life::Alive,
        eligible: true,
        caught_up_for: Duration::from_secs(60),
        silent_for: Duration::from_millis(50),
    };

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn ids(numbers: &[u128]) -> BTreeSet<Uuid> {
        numbers.iter().map(|n| id(*n)).collect()
    }

    /// Node 1 leads; everybody is alive and caught up.
    fn view(voters: &[u128], learners: &[u128], strangers: &[u128]) -> View {
        let all = voters.iter().chain(learners).chain(strangers);
        View {
            leader: id(1),
            voters: ids(voters),
            learners: learners.iter().map(|n| (id(*n), Some(0))).collect(),
            joint: false,
            nodes: all.map(|n| (id(*n), ALIVE)).collect(),
            wanted_voters: 5,
            replace_after: Duration::from_secs(300),
        }
    }

    fn set_voters(voters: &[u128]) -> Option<Change> {
        Some(Change::SetVoters(ids(voters)))
    }

    #[test]
    fn an_interrupted_change_is_finished_before_anything_else() {
        let view = View { joint: true, ..view(&[1], &[2, 3], &[4]) };
        assert_eq!(next_change(&view), Some(Change::Finish));
    }

    #[test]
    fn live_members_become_learners_unless_they_belong_elsewhere() {
        let mut view = view(&[1], &[], &[2, 3, 4]);
        view.nodes.insert(id(3), Node { eligible: false, ..ALIVE });
        view.nodes.insert(id(4), Node { life: Life::Doubtful, ..ALIVE });
        assert_eq!(next_change(&view), Some(Change::AddLearners(ids(&[2]))));
    }

    #[test]
    fn two_newcomers_are_promoted_together_and_one_alone_waits_for_a_partner() {
        assert_eq!(next_change(&view(&[1], &[2, 3], &[])), set_voters(&[1, 2, 3]));
        let mut one = view(&[1], &[2], &[]);
        one.nodes.insert(id(2), Node { caught_up_for: Duration::ZERO, ..ALIVE });
        assert_eq!(next_change(&one), None);
        one.nodes.insert(id(2), Node { caught_up_for: PAIR_WAIT, ..ALIVE });
        assert_eq!(next_change(&one), set_voters(&[1, 2]));
    }

    #[test]
    fn a_learner_behind_a_dead_one_and_one_too_many_are_not_promoted() {
        let mut behind = view(&[1, 2], &[3], &[]);
        behind.learners.insert(id(3), Some(CAUGHT_UP + 1));
        assert_eq!(next_change(&behind), None);
        behind.learners.insert(id(3), None);
        assert_eq!(next_change(&behind), None);
        let full = view(&[1, 2, 3, 4, 5], &[6, 7], &[]);
        assert_eq!(next_change(&full), None);
        let mut last_seat = view(&[1, 2, 3, 4], &[5, 6], &[]);
        last_seat.nodes.insert(id(5), Node { caught_up_for: Duration::from_secs(61), ..ALIVE });
        assert_eq!(next_change(&last_seat), set_voters(&[1, 2, 3, 4, 5]));
    }

    #[test]
    fn who_comes_as_a_voter_dies_waits_until_that_shows() {
        let mut view = view(&[1, 2, 3, 4], &[5], &[]);
        let (came, died) = (Duration::from_millis(300), Duration::from_millis(700));
        view.nodes.insert(id(5), Node { caught_up_for: came, ..ALIVE });
        view.nodes.insert(id(4), Node { silent_for: died, ..ALIVE });
        assert_eq!(next_change(&view), None);
        view.nodes.insert(id(4), Node { silent_for: came, ..ALIVE });
        assert_eq!(next_change(&view), set_voters(&[1, 2, 3, 4, 5]), "it has answered since");
    }

    #[test]
    fn while_a_voter_is_dead_a_learner_may_only_take_its_place_and_only_in_time() {
        let mut view = view(&[1, 2, 3], &[4, 5], &[]);
        for life in [Life::Doubtful, Life::Dead(Duration::from_secs(299))] {
            view.nodes.insert(id(3), Node { life, ..ALIVE });
            assert_eq!(next_change(&view), None, "{life:?}");
        }
        view.nodes.insert(id(3), Node { life: Life::Dead(Duration::from_secs(300)), ..ALIVE });
        assert_eq!(next_change(&view), set_voters(&[1, 2, 4]));
        for learner in [4, 5] {
            view.learners.remove(&id(learner));
            view.nodes.remove(&id(learner));
        }
        assert_eq!(next_change(&view), None, "with no learner at hand nothing changes");
    }

    #[test]
    fn a_voter_that_gossip_does_not_know_is_not_taken_for_dead() {
        let mut view = view(&[1, 2, 3], &[4], &[]);
        view.nodes.remove(&id(3));
        assert_eq!(next_change(&view), None);
    }

    #[test]
    fn who_was_taken_out_for_good_goes_dead_or_alive_if_a_majority_stays() {
        let mut view = view(&[1, 2, 3], &[], &[]);
        view.nodes.insert(id(3), Node { eligible: false, ..ALIVE });
        assert_eq!(next_change(&view), set_voters(&[1, 2]));
        view.nodes.insert(id(2), Node { life: Life::Dead(Duration::ZERO), ..ALIVE });
        assert_eq!(next_change(&view), None, "one of two would be left alive");
        view.nodes.insert(id(2), Node { eligible: false, life: Life::Dead(Duration::ZERO), ..ALIVE });
        view.nodes.insert(id(3), ALIVE);
        assert_eq!(next_change(&view), set_voters(&[1, 3]));
    }

    #[test]
    fn lost_learners_are_forgotten_and_surplus_voters_step_back() {
        let mut lost = view(&[1, 2, 3, 4, 5], &[6, 7], &[]);
        lost.nodes.insert(id(6), Node { life: Life::Dead(Duration::from_secs(300)), ..ALIVE });
        lost.nodes.insert(id(7), Node { eligible: false, ..ALIVE });
        assert_eq!(next_change(&lost), Some(Change::Forget(ids(&[6, 7]))));
        let lowered = View { wanted_voters: 3, leader: id(5), ..view(&[1, 2, 3, 4, 5], &[], &[]) };
        assert_eq!(next_change(&lowered), set_voters(&[1, 2, 5]));
    }

    #[test]
    fn nobody_leaves_who_would_take_the_majority_along() {
        let three = ids(&[1, 2, 3]);
        assert!(may_leave(&three, &ids(&[1, 2, 3]), id(3)));
        assert!(may_leave(&three, &ids(&[1, 2]), id(3)), "a dead one, the live two remain a majority");
        assert!(!may_leave(&three, &ids(&[1, 2]), id(2)), "the live one of one live and one dead");
        assert!(!may_leave(&three, &ids(&[1]), id(2)), "no majority lives before");
        assert!(!may_leave(&ids(&[1]), &ids(&[1]), id(1)), "the last voter");
        assert_eq!(
            [(1, 1), (2, 2), (3, 3), (5, 5), (5, 3), (3, 1)].map(|(v, l)| failures_tolerated(v, l)),
            [0, 0, 1, 2, 0, 0]
        );
    }
}
