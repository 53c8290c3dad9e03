//! One round of asking every registry to record this node's claim: what the answers mean.
//!
//! With several registries two founders may each hold a part of them. Then the one with the higher id gives its part back
//! and starts over as a newcomer, but only when its claim cannot have won: a registry whose answer was lost *may* hold it,
//! and others may see it there.

use std::collections::BTreeMap;

use muster_client::api::registry::{Founding, Standing};
use uuid::Uuid;

use super::standing::is_majority;

/// What one registry said to the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// It is on its disk.
    Recorded,
    /// Something else stands; `None`: several ids do.
    Refused(Option<Standing>),
    /// It certainly did not record it now (not reached, still listening, full).
    Not,
    /// The answer was lost.
    Lost,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A majority has recorded the claim: it is the cluster.
    Confirmed,
    /// Another cluster stands: drop the claim and join.
    Join(Uuid),
    /// A founder of lower id is about to: drop the claim and wait.
    Yield(Uuid),
    /// Undecided: ask again.
    Again,
}

/// A claim over its rounds.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) founding: Founding,
    /// By registry: whether it may hold the claim.
    may_hold: Vec<bool>,
}

impl Claim {
    /// A claim that was written just now: no registry has it.
    pub(super) fn fresh(founding: Founding, named: usize) -> Self {
        Self { founding, may_hold: vec![false; named] }
    }

    /// A claim from an earlier life of this node: any registry may have it.
    pub(super) fn remembered(founding: Founding, named: usize) -> Self {
        Self { founding, may_hold: vec![true; named] }
    }

    /// Takes the replies of all registries, in their order.
    pub(super) fn hear(&mut self, replies: &[Reply]) -> Next {
        let named = replies.len();
        for (may_hold, reply) in self.may_hold.iter_mut().zip(replies) {
            match reply {
                Reply::Recorded | Reply::Lost => *may_hold = true,
                Reply::Refused(_) => *may_hold = false,
                // Not reached now; what an earlier round left there is as unknown as before.
                Reply::Not => {}
            }
        }
        let recorded = replies.iter().filter(|reply| **reply == Reply::Recorded).count();
        if is_majority(recorded, named) {
            return Next::Confirmed;
        }
        if is_majority(self.may_hold.iter().filter(|may| **may).count(), named) {
            return Next::Again;
        }
        let standing: Vec<Standing> = replies
            .iter()
            .filter_map(|reply| match reply {
                Reply::Refused(standing) => *standing,
                Reply::Recorded | Reply::Not | Reply::Lost => None,
            })
            .collect();
        let mut counts: BTreeMap<Uuid, usize> = BTreeMap::new();
        for other in &standing {
            *counts.entry(other.cluster_id).or_insert(0) += 1;
        }
        // One that a majority recorded, or that is only known because nodes carry it, is a cluster.
        let won = counts.iter().find(|(_, count)| is_majority(**count, named)).map(|(id, _)| *id);
        let carried = || standing.iter().find(|other| other.founder.is_none()).map(|other| other.cluster_id);
        if let Some(id) = won.or_else(carried) {
            return Next::Join(id);
        }
        let lower =
            standing.iter().filter_map(|other| other.founder).filter(|founder| *founder < self.founding.founder);
        lower.min().map_or(Next::Again, Next::Yield)
    }
}

#[cfg(test)]
mod tests {
    use super::Reply::{Lost, Not, Recorded};
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    /// Founder 5, cluster 105.
    fn claim(named: usize) -> Claim {
        Claim::fresh(Founding { cluster_id: id(105), founder: id(5) }, named)
    }

    /// The record of another founder.
    fn by(founder: u128) -> Reply {
        Reply::Refused(Some(Standing { cluster_id: id(100 + founder), founder: Some(id(founder)) }))
    }

    #[test]
    fn a_majority_of_those_named_confirms() {
        assert_eq!(claim(1).hear(&[Recorded]), Next::Confirmed);
        assert_eq!(claim(3).hear(&[Recorded, Recorded, Not]), Next::Confirmed);
        assert_eq!(claim(3).hear(&[Recorded, Not, Not]), Next::Again);
        assert_eq!(claim(2).hear(&[Recorded, Not]), Next::Again);
    }

    #[test]
    fn who_lost_the_race_joins() {
        assert_eq!(claim(1).hear(&[by(9)]), Next::Join(id(109)));
        assert_eq!(claim(3).hear(&[by(9), by(9), Recorded]), Next::Join(id(109)));
    }

    #[test]
    fn an_id_that_nodes_carry_is_joined_at_once() {
        let carried = Reply::Refused(Some(Standing { cluster_id: id(7), founder: None }));
        assert_eq!(claim(3).hear(&[carried, Not, Not]), Next::Join(id(7)));
    }

    #[test]
    fn of_two_that_hold_a_part_the_higher_id_yields() {
        assert_eq!(claim(2).hear(&[Recorded, by(3)]), Next::Yield(id(3)));
        assert_eq!(claim(2).hear(&[Recorded, by(9)]), Next::Again);
        assert_eq!(claim(3).hear(&[Recorded, by(3), by(9)]), Next::Yield(id(3)));
    }

    #[test]
    fn a_claim_that_may_have_won_is_never_given_up() {
        let mut claim = claim(3);
        assert_eq!(claim.hear(&[by(3), Recorded, Lost]), Next::Again);
        assert_eq!(claim.hear(&[by(3), Recorded, Not]), Next::Again, "what was lost stays unknown");
        assert_eq!(claim.hear(&[by(3), Recorded, by(3)]), Next::Join(id(103)));
        let founding = Founding { cluster_id: id(105), founder: id(5) };
        assert_eq!(Claim::remembered(founding, 3).hear(&[by(3), Not, Not]), Next::Again, "nor one of an earlier life");
    }

    #[test]
    fn several_standing_ids_are_waited_out() {
        assert_eq!(claim(1).hear(&[Reply::Refused(None)]), Next::Again);
    }

    /// Founders of every order of arrival over three registries: never two confirmed, and one is in the end.
    #[test]
    fn never_two_win_and_one_does() {
        for order in 0..3_usize.pow(6) {
            let mut held: [Option<u128>; 3] = [None; 3];
            let mut claims: BTreeMap<u128, Claim> =
                (1..=3).map(|n| (n, Claim::fresh(Founding { cluster_id: id(100 + n), founder: id(n) }, 3))).collect();
            let mut confirmed = Vec::new();
            // The order in which single requests arrive first: a digit each, who asks; then whole rounds.
            let mut digits = order;
            for step in 0..6 {
                let who = (digits % 3) as u128 + 1;
                digits /= 3;
                held[step % 3].get_or_insert(who);
            }
            for _ in 0..10 {
                for who in 1..=3 {
                    let Some(claim) = claims.get_mut(&who) else { continue };
                    let replies: Vec<Reply> = held
                        .iter_mut()
                        .map(|holder| match *holder.get_or_insert(who) {
                            other if other == who => Recorded,
                            other => by(other),
                        })
                        .collect();
                    match claim.hear(&replies) {
                        Next::Confirmed => confirmed.push(who),
                        Next::Again => {}
                        Next::Join(_) | Next::Yield(_) => {
                            claims.remove(&who);
                            held.iter_mut().filter(|holder| **holder == Some(who)).for_each(|holder| *holder = None);
                        }
                    }
                }
            }
            confirmed.dedup();
            let winners: std::collections::BTreeSet<u128> = confirmed.into_iter().collect();
            assert_eq!(winners.len(), 1, "order {order}: {winners:?}");
        }
    }
}
