//! Whether a starting node may vote: a function of what its disk holds, what others remember of it, and who else there may be.
//!
//! 1. Somebody remembers more of it than its disk holds: the disk is an old copy. It never votes again.
//! 2. A majority of the voters, itself among them, has answered, or one that votes by now, and nobody remembers more: it votes. The word of one that has
//!    just started itself is not enough: its own disk may be an old copy that remembers too little.
//! 3. It is the only voter that its disk knows. If nobody knows of others, it votes at once. If a member of its cluster answers, and knows of no
//!    later membership, it votes. If others are remembered but nobody is reached, it votes after [`LONE_WAIT`]. If a registry lists living members,
//!    or one of them knows of other voters, it waits for these, however long that takes.
//! 4. Otherwise it waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::mark::Mark;
use crate::replication::wire::Testimony;

/// How long the only voter looks for the others that it remembers before it takes it that they are gone for good: well beyond the lease of a
/// registration, so that a registry's word is there before, and beyond a restart of the others.
pub(crate) const LONE_WAIT: Duration = Duration::from_secs(20);

/// What this node was told of other members, beside gossip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Others {
    /// Peer ports of the last life and of `--join`.
    pub remembered: Vec<String>,
    /// What the registries say.
    pub registries: Registries,
}

/// What the registries say of other members of this node's cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registries {
    /// None is named.
    Unnamed,
    /// None has answered since the start.
    Silent,
    /// They list no other live member.
    Nobody,
    /// They list another live member.
    Listed,
}

/// What is known when the question comes up.
#[derive(Debug)]
pub(super) struct Situation<'a> {
    pub(super) me: Uuid,
    /// What the disk held when the process started.
    pub(super) held: Mark,
    /// The voters by this node's own log, and the index of the entry that says so.
    pub(super) voters: &'a BTreeSet<Uuid>,
    pub(super) membership_index: Option<u64>,
    /// Who answered in this round.
    pub(super) answers: &'a BTreeMap<Uuid, Testimony>,
    /// `None`: not looked up yet.
    pub(super) others: Option<&'a Others>,
    /// Whether some of those that are remembered are not known to be strangers.
    pub(super) remembers_somebody: bool,
    /// Since the start of the process.
    pub(super) waited: Duration,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not yet; for people.
    Wait(String),
    /// It may vote. With something to say if that is by the clock alone.
    Vote(Option<String>),
    /// The disk is an old copy; for people.
    SetBack(String),
}

pub(super) fn judge(situation: &Situation<'_>) -> Verdict {
    let Situation { me, held, voters, answers, .. } = situation;
    if let Some(why) = answers.iter().find_map(|(id, testimony)| remembers_more(*held, *id, testimony)) {
        return Verdict::SetBack(why);
    }
    let latest = latest_voters(voters, situation.membership_index, answers);
    let heard = answers.keys().filter(|id| *id != me && latest.contains(id)).count();
    let majority = heard > 0 && (heard + usize::from(latest.contains(me))) * 2 > latest.len();
    let speaks = |id: &Uuid, testimony: &Testimony| id != me && testimony.vouched && testimony.votes;
    if majority || answers.iter().any(|(id, testimony)| speaks(id, testimony)) {
        return Verdict::Vote(None);
    }
    if voters.len() != 1 || !voters.contains(me) {
        let text = "this node has just started and has not heard from enough of the other voters of its cluster yet";
        return Verdict::Wait(text.to_owned());
    }
    judge_lone(situation)
}

/// Says what is wrong if others remember more of this node than its disk holds.
pub(super) fn remembers_more(held: Mark, id: Uuid, testimony: &Testimony) -> Option<String> {
    let theirs = testimony.mark;
    let index = theirs.index.max(testimony.acknowledged);
    let what = if theirs.stamp > held.stamp {
        format!("a later life of this node (stamp {}) than its disk knows ({})", theirs.stamp, held.stamp)
    } else if theirs.term > held.term {
        format!("a later vote of this node (term {}) than its disk holds ({})", theirs.term, held.term)
    } else if index > held.index {
        format!("that this node had committed entry {index} on its disk, which ends at {}", held.index)
    } else {
        return None;
    };
    Some(format!("{id} remembers {what}"))
}

fn judge_lone(situation: &Situation<'_>) -> Verdict {
    let wait = |why: &str| Verdict::Wait(format!("by its disk this node is the only voter of its cluster, but {why}"));
    let Some(others) = situation.others else {
        return wait("it does not know yet whether there are others");
    };
    let later = |testimony: &&Testimony| {
        testimony.membership_index > situation.membership_index && testimony.voters.iter().any(|id| *id != situation.me)
    };
    if situation.answers.values().any(|testimony| later(&testimony)) {
        return wait("a member knows of other voters since; it waits for one of those");
    }
    if !situation.answers.is_empty() {
        return Verdict::Vote(None);
    }
    match others.registries {
        Registries::Listed => {
            return wait("a registry lists another live member; it waits until that is reached or not listed any more");
        }
        Registries::Unnamed | Registries::Nobody if !situation.remembers_somebody => return Verdict::Vote(None),
        Registries::Unnamed | Registries::Silent | Registries::Nobody => {}
    }
    if situation.waited < LONE_WAIT {
        return wait("there may be others, and it looks for them first; it goes on alone if it reaches nobody");
    }
    Verdict::Vote(Some(format!(
        "by its disk this node is the only voter of its cluster, and none of the other members was reached within {LONE_WAIT:?}: it goes on alone"
    )))
}

/// Whether the data of `me`, an old copy or taken for one because a double of it was started, can be set aside: another node leads, and those of its
/// voters that answered are a majority without `me`. Else the others could not even replace it, and its data would be missed.
pub(super) fn goes_on_without(me: Uuid, answers: &BTreeMap<Uuid, Testimony>) -> bool {
    let there = |id: &Uuid| *id != me && answers.get(id).is_some_and(|testimony| testimony.votes);
    let enough = |leader: &Testimony| leader.voters.iter().filter(|id| there(id)).count() * 2 > leader.voters.len();
    answers.iter().any(|(id, testimony)| *id != me && testimony.leads && enough(testimony))
}

/// Whether a majority of the voters but `me` says that `me` was taken out: the voters of the latest membership that is known.
pub(super) fn is_removed(
    me: Uuid,
    voters: &BTreeSet<Uuid>,
    membership_index: Option<u64>,
    answers: &BTreeMap<Uuid, Testimony>,
) -> bool {
    let voters = latest_voters(voters, membership_index, answers);
    let others = voters.iter().filter(|id| **id != me).count();
    let agree = answers.iter().filter(|(id, testimony)| testimony.removed && **id != me && voters.contains(id)).count();
    agree * 2 > others
}

/// The voters by the latest membership that is known: this node's own, or what an answer says.
fn latest_voters(own: &BTreeSet<Uuid>, own_index: Option<u64>, answers: &BTreeMap<Uuid, Testimony>) -> BTreeSet<Uuid> {
    let latest = answers.values().filter(|testimony| testimony.membership_index > own_index);
    let latest = latest.max_by_key(|testimony| testimony.membership_index);
    latest.map_or_else(|| own.clone(), |latest| latest.voters.iter().copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);
    const HELD: Mark = Mark { stamp: 10, term: 3, index: 50 };

    fn says(mark: Mark) -> Testimony {
        Testimony { mark, ..Testimony::default() }
    }

    fn ask(
        voters: &[Uuid],
        answers: &[(Uuid, Testimony)],
        others: Option<(Registries, bool)>,
        waited: Duration,
    ) -> Verdict {
        let registries = others.map(|(registries, _)| Others { remembered: Vec::new(), registries });
        judge(&Situation {
            me: ME,
            held: HELD,
            voters: &voters.iter().copied().collect(),
            membership_index: Some(1),
            answers: &answers.iter().cloned().collect(),
            others: registries.as_ref(),
            remembers_somebody: others.is_some_and(|(_, somebody)| somebody),
            waited,
        })
    }

    fn waits(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Wait(_))
    }

    #[test]
    fn whoever_remembers_more_in_any_respect_unmasks_an_old_copy() {
        for more in [Mark { stamp: 11, ..HELD }, Mark { term: 4, ..HELD }, Mark { index: 51, ..HELD }] {
            for voters in [&[ME][..], &[ME, OTHER], &[]] {
                let verdict = ask(voters, &[(OTHER, says(more))], None, Duration::ZERO);
                assert!(matches!(verdict, Verdict::SetBack(_)), "{more:?}: {verdict:?}");
            }
        }
        let leader = Testimony { acknowledged: 51, ..says(HELD) };
        assert!(matches!(ask(&[ME, OTHER], &[(OTHER, leader)], None, Duration::ZERO), Verdict::SetBack(_)));
        for no_more in [HELD, Mark::default(), Mark { stamp: 9, term: 2, index: 49 }] {
            let verdict = ask(&[ME, OTHER], &[(OTHER, says(no_more))], None, Duration::ZERO);
            assert_eq!(verdict, Verdict::Vote(None));
        }
    }

    #[test]
    fn only_another_voters_word_lets_a_voter_vote() {
        let day = Duration::from_secs(86_400);
        let learner = Uuid::from_u128(9);
        assert!(waits(&ask(&[ME, OTHER], &[], Some((Registries::Nobody, false)), day)));
        assert!(waits(&ask(&[ME, OTHER], &[(learner, says(HELD))], Some((Registries::Nobody, false)), day)));
        // The voters have changed since this node's log ends.
        let promoted = Testimony { votes: true, membership_index: Some(2), voters: vec![ME, learner], ..says(HELD) };
        assert_eq!(ask(&[ME, OTHER], &[(learner, promoted)], None, Duration::ZERO), Verdict::Vote(None));
    }

    #[test]
    fn the_word_of_one_that_has_just_started_itself_counts_as_one_of_a_majority() {
        let [a, b, c] = [2, 3, 4].map(Uuid::from_u128);
        let five = [ME, a, b, c, Uuid::from_u128(5)];
        let starting = || Testimony { votes: true, ..says(HELD) };
        assert!(waits(&ask(&five, &[(a, starting())], None, Duration::ZERO)), "it may be an old copy itself");
        let two = [(a, starting()), (b, starting())];
        assert_eq!(ask(&five, &two, None, Duration::ZERO), Verdict::Vote(None));
        let votes = Testimony { vouched: true, ..starting() };
        assert_eq!(ask(&five, &[(a, votes.clone())], None, Duration::ZERO), Verdict::Vote(None));
        let against = [(a, votes), (b, says(Mark { term: 4, ..HELD }))];
        assert!(matches!(ask(&five, &against, None, Duration::ZERO), Verdict::SetBack(_)));
    }

    #[test]
    fn the_only_voter_waits_for_others_that_it_may_have() {
        let (soon, late) = (Duration::ZERO, LONE_WAIT);
        let lone = |others, waited| ask(&[ME], &[], others, waited);
        assert_eq!(
            lone(Some((Registries::Unnamed, false)), soon),
            Verdict::Vote(None),
            "a node that never had anybody"
        );
        assert_eq!(lone(Some((Registries::Nobody, false)), soon), Verdict::Vote(None));
        assert!(waits(&lone(None, late)), "not before it has looked up whom it remembers");
        for unknown in [(Registries::Unnamed, true), (Registries::Nobody, true), (Registries::Silent, false)] {
            assert!(waits(&lone(Some(unknown), soon)), "{unknown:?}");
            assert!(matches!(lone(Some(unknown), late), Verdict::Vote(Some(_))), "{unknown:?}");
        }
        assert!(waits(&lone(Some((Registries::Listed, false)), late * 100)), "others live: never by the clock");
    }

    #[test]
    fn nothing_is_set_aside_that_the_others_cannot_do_without() {
        let [a, b, c] = [2, 3, 4].map(Uuid::from_u128);
        let voter = |leads, votes, voters: &[Uuid]| Testimony { leads, votes, voters: voters.to_vec(), ..says(HELD) };
        let without = |answers: &[(Uuid, Testimony)]| goes_on_without(ME, &answers.iter().cloned().collect());
        let two = [ME, a];
        assert!(!without(&[(a, voter(true, true, &two))]), "the other one of two leads with this node's voice");
        let three = [ME, a, b];
        assert!(without(&[(a, voter(true, true, &three)), (b, voter(false, true, &three))]));
        assert!(!without(&[(a, voter(false, true, &three)), (b, voter(false, true, &three))]), "nobody leads");
        assert!(!without(&[(a, voter(true, true, &three))]), "one of three");
        assert!(!without(&[(a, voter(true, true, &three)), (b, voter(false, false, &three))]), "another old copy");
        assert!(!without(&[(a, voter(true, true, &three)), (c, voter(false, true, &three))]), "no voter");
        assert!(without(&[(a, voter(true, true, &[a]))]), "replaced already");
    }

    #[test]
    fn nobody_is_taken_out_by_the_word_of_one() {
        let [a, b, stranger] = [2, 3, 9].map(Uuid::from_u128);
        let voters = BTreeSet::from([ME, a, b]);
        let says = |removed| Testimony { removed, membership_index: Some(1), voters: vec![ME, a, b], ..says(HELD) };
        let removed = |answers: &[(Uuid, Testimony)]| {
            is_removed(ME, &voters, Some(1), &answers.iter().cloned().collect::<BTreeMap<_, _>>())
        };
        assert!(!removed(&[]), "nobody answers");
        assert!(!removed(&[(a, says(true))]), "one of two others");
        assert!(!removed(&[(a, says(true)), (b, says(false))]));
        assert!(!removed(&[(stranger, says(true)), (a, says(true))]), "a stranger's word does not count");
        assert!(removed(&[(a, says(true)), (b, says(true))]));
        // Since this node's log ends, only one of them votes.
        let later = Testimony { membership_index: Some(7), voters: vec![a], ..says(true) };
        assert!(removed(&[(a, later)]));
    }

    #[test]
    fn the_only_voter_heeds_a_later_membership_and_no_earlier_one() {
        let listed = Some((Registries::Listed, true));
        let knows = |index| Testimony { membership_index: Some(index), voters: vec![ME, OTHER], ..says(HELD) };
        let learner = Uuid::from_u128(9);
        assert!(waits(&ask(&[ME], &[(learner, knows(2))], listed, LONE_WAIT * 100)));
        assert_eq!(ask(&[ME], &[(learner, knows(0))], listed, Duration::ZERO), Verdict::Vote(None));
    }
}
