//! Counts who withholds its vote from the running campaign, so that a lost one is known when the answers are in and not when the time
//! for them is over.
//!
//! openraft asks for the votes and counts the grants. It keeps quiet about refusals, but they all pass through the network, which reports
//! them here. A hint and no more: it only decides how soon the next try begins.

use std::collections::BTreeSet;

use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

/// Refusals that wait to be counted. Full: the newest goes, and the campaign's own time-out has to tell.
const QUEUE: usize = 256;

/// Which of the two rounds of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Round {
    /// Would you vote for me?
    Before,
    /// The vote itself.
    Vote,
}

/// A voter that was asked and did not grant its vote: it said no, or could not be reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    pub(crate) round: Round,
    pub(crate) by: Uuid,
    /// When it was asked.
    pub(crate) asked: Instant,
}

/// Where refusals are reported.
pub(crate) type Refusals = mpsc::Sender<Refused>;

/// The way from the network to the tally.
pub(crate) fn channel() -> (Refusals, mpsc::Receiver<Refused>) {
    mpsc::channel(QUEUE)
}

/// The refusals of one campaign.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    began: Option<Instant>,
    refused: BTreeSet<(Round, Uuid)>,
}

impl Tally {
    /// A campaign begins now; what was refused to an earlier one does not count.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.began = Some(now);
        self.refused.clear();
    }

    /// Counts a refusal. Says once whether no majority of the voters is left that could grant the round.
    pub(crate) fn refuse(&mut self, refused: Refused, voters: &BTreeSet<Uuid>) -> bool {
        if self.began.is_none_or(|began| refused.asked < began) || !voters.contains(&refused.by) {
            return false;
        }
        self.refused.insert((refused.round, refused.by));
        let refusals = self.refused.iter().filter(|(round, by)| *round == refused.round && voters.contains(by)).count();
        let lost = voters.len() - refusals < voters.len() / 2 + 1;
        if lost {
            self.began = None;
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_is_lost_when_no_majority_is_left_and_only_by_its_own_round() {
        let voters: BTreeSet<Uuid> = (1..=5).map(Uuid::from_u128).collect();
        let began = Instant::now();
        let mut tally = Tally::default();
        let refused = |round, by, asked| Refused { round, by: Uuid::from_u128(by), asked };
        assert!(!tally.refuse(refused(Round::Before, 1, began), &voters), "nothing runs");
        let before = Instant::now();
        let began = before + std::time::Duration::from_millis(1);
        tally.begin(began);
        assert!(!tally.refuse(refused(Round::Before, 1, before), &voters), "of an earlier campaign");
        assert!(!tally.refuse(refused(Round::Before, 1, began), &voters));
        assert!(!tally.refuse(refused(Round::Before, 1, began), &voters), "the same voter again");
        assert!(!tally.refuse(refused(Round::Before, 9, began), &voters), "no voter");
        assert!(!tally.refuse(refused(Round::Before, 2, began), &voters), "three of five are left");
        assert!(!tally.refuse(refused(Round::Vote, 3, began), &voters), "the other round");
        assert!(tally.refuse(refused(Round::Before, 4, began), &voters));
        assert!(!tally.refuse(refused(Round::Before, 5, began), &voters), "it is said once");
    }
}
