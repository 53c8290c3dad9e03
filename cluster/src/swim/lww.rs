//! The membership as a last-writer-wins element set: an add dictionary and a remove dictionary, stamped by members' clocks.
//!
//! - Only its owner adds a member, with a fresh stamp: a *life*.
//! - A *suspicion* is a passing state of one life.
//! - A *removal* names the life that it ends. On a tie the removal wins, so a stale accusation never beats a newer life,
//!   and no third party can bring back the dead.
//!
//! The merge is a join of semilattices, one for each dictionary: commutative, associative, idempotent. It consults no
//! clock. What a member's state is follows from the dictionaries by [`outranks`], the one table of precedence.
//!
//! What it does not do: forget (that is for the tombstones' keeper, by age), and judge what a stamp is worth (the wire
//! does).

use std::net::SocketAddr;
use std::sync::Arc;

use super::hlc::Stamp;
use super::member::MemberState;
use super::wire::{Statement, VersionRange};

/// What a member says of itself, under one stamp. The order of the fields is that in which two contradicting lives of one
/// stamp are compared; honest members make no such pair.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life {
    /// The incarnation.
    pub(super) stamp: Stamp,
    /// The random number of its start.
    pub(super) boot: u64,
    /// Where it is.
    pub(super) address: SocketAddr,
    /// What it speaks.
    pub(super) versions: VersionRange,
    /// What it wants known. Boxed and not shared: a life itself is, and thousands of them are kept.
    pub(super) metadata: Box<[u8]>,
}

/// Why a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// It did not answer.
    Failed,
    /// It said so itself.
    Left,
}

impl Reason {
    pub(super) const fn state(self) -> MemberState {
        match self {
            Self::Failed => MemberState::Failed,
            Self::Left => MemberState::Left,
        }
    }
}

/// The end of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Removal {
    /// The add stamp of the life that it ends.
    pub(super) stamp: Stamp,
    /// Why.
    pub(super) reason: Reason,
}

/// All that is said of one member. Sixteen bytes, since most are alive and nothing else is said of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Row {
    /// Its newest life.
    pub(super) life: Option<Arc<Life>>,
    /// None as long as there are none.
    claims: Option<Box<Claims>>,
}

/// What others say of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Claims {
    /// The newest life that was suspected.
    suspected: Option<Stamp>,
    /// The newest life that ended.
    removal: Option<Removal>,
}

/// Whether `theirs` replaces `mine`, when both are said of the same life.
///
/// SWIM, section 4.2 (alive < suspect < confirm at one incarnation), and one more: an owner's own goodbye beats others'
/// guess that it failed.
pub(super) fn outranks(theirs: MemberState, mine: MemberState) -> bool {
    use MemberState::{Alive, Failed, Left, Suspect};
    match (mine, theirs) {
        (Alive, Alive) => false,
        (Alive, Suspect | Failed | Left) => true,
        (Suspect, Alive | Suspect) => false,
        (Suspect, Failed | Left) => true,
        (Failed, Alive | Suspect | Failed) => false,
        (Failed, Left) => true,
        (Left, Alive | Suspect | Failed | Left) => false,
    }
}

impl Row {
    /// A row with one life and nothing said of it.
    pub(super) const fn of(life: Arc<Life>) -> Self {
        Self { life: Some(life), claims: None }
    }

    /// The newest life that was suspected.
    fn suspected(&self) -> Option<Stamp> {
        self.claims.as_ref()?.suspected
    }

    /// The newest life that ended.
    pub(super) fn removal(&self) -> Option<Removal> {
        self.claims.as_ref()?.removal
    }

    /// The removal has had its time.
    pub(super) fn forget_removal(&mut self) -> bool {
        let Some(claims) = &mut self.claims else { return false };
        let was_there = claims.removal.take().is_some();
        if claims.suspected.is_none() {
            self.claims = None;
        }
        was_there
    }

    /// Whether to take it in would change anything.
    pub(super) fn is_news(&self, statement: &Statement) -> bool {
        match statement {
            Statement::Alive { life, .. } => self.lacks(life),
            Statement::Suspect { stamp, .. } => self.lacks_suspicion(*stamp),
            Statement::Removed { removal, .. } => self.lacks_removal(*removal),
        }
    }

    fn lacks(&self, life: &Life) -> bool {
        self.life.as_ref().is_none_or(|mine| *life > **mine)
    }

    fn lacks_suspicion(&self, stamp: Stamp) -> bool {
        self.suspected().is_none_or(|mine| stamp > mine)
    }

    fn lacks_removal(&self, removal: Removal) -> bool {
        self.removal().is_none_or(|mine| {
            removal.stamp > mine.stamp
                || (removal.stamp == mine.stamp && outranks(removal.reason.state(), mine.reason.state()))
        })
    }

    /// Takes a life in; whether that changed anything.
    pub(super) fn add(&mut self, life: Arc<Life>) -> bool {
        let newer = self.lacks(&life);
        if newer {
            self.life = Some(life);
        }
        newer
    }

    /// Takes a suspicion in; whether that changed anything.
    pub(super) fn suspect(&mut self, stamp: Stamp) -> bool {
        let newer = self.lacks_suspicion(stamp);
        if newer {
            self.claims.get_or_insert_default().suspected = Some(stamp);
        }
        newer
    }

    /// Takes a removal in; whether that changed anything.
    pub(super) fn remove(&mut self, removal: Removal) -> bool {
        let newer = self.lacks_removal(removal);
        if newer {
            self.claims.get_or_insert_default().removal = Some(removal);
        }
        newer
    }

    /// Takes in all that another row says of the same member; whether that changed anything.
    #[cfg(test)]
    pub(super) fn merge(&mut self, theirs: &Self) -> bool {
        let added = theirs.life.clone().is_some_and(|life| self.add(life));
        let suspected = theirs.suspected().is_some_and(|stamp| self.suspect(stamp));
        let removed = theirs.removal().is_some_and(|removal| self.remove(removal));
        added || suspected || removed
    }

    /// What its newest known life is thought to be; none when no life of it is known.
    pub(super) fn state(&self) -> Option<MemberState> {
        let life = self.life.as_ref()?;
        // What is said of a newer life than the one that we know holds for that one too: it comes later.
        let suspected = self.suspected().filter(|stamp| *stamp >= life.stamp).map(|_| MemberState::Suspect);
        let removed =
            self.removal().filter(|removal| removal.stamp >= life.stamp).map(|removal| removal.reason.state());
        let claims = [suspected, removed].into_iter().flatten();
        Some(claims.fold(MemberState::Alive, |mine, theirs| if outranks(theirs, mine) { theirs } else { mine }))
    }

    /// The suspicion of the newest life, if that is its state.
    pub(super) fn suspicion(&self) -> Option<Stamp> {
        self.suspected().filter(|_| self.state() == Some(MemberState::Suspect))
    }

    /// The removal that stands: no newer life is known.
    pub(super) fn standing_removal(&self) -> Option<Removal> {
        self.removal().filter(|removal| self.life.as_ref().is_none_or(|life| removal.stamp >= life.stamp))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lives() -> impl Strategy<Value = Life> {
        (0..6_u64, 0..2_u64, 1..3_u16).prop_map(|(stamp, boot, port)| Life {
            stamp: Stamp::from_bits(stamp),
            boot,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            versions: VersionRange { min: 1, max: 1 },
            metadata: Box::default(),
        })
    }

    fn removals() -> impl Strategy<Value = Removal> {
        (0..6_u64, any::<bool>()).prop_map(|(stamp, left)| Removal {
            stamp: Stamp::from_bits(stamp),
            reason: if left { Reason::Left } else { Reason::Failed },
        })
    }

    fn rows() -> impl Strategy<Value = Row> {
        (prop::option::of(lives()), prop::option::of(0..6_u64), prop::option::of(removals())).prop_map(
            |(life, suspected, removal)| {
                let suspected = suspected.map(Stamp::from_bits);
                let claims =
                    (suspected.is_some() || removal.is_some()).then(|| Box::new(Claims { suspected, removal }));
                Row { life: life.map(Arc::new), claims }
            },
        )
    }

    fn merged(a: &Row, b: &Row) -> Row {
        let mut out = a.clone();
        out.merge(b);
        out
    }

    proptest! {
        #[test]
        fn commutative(a in rows(), b in rows()) {
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        }

        #[test]
        fn associative(a in rows(), b in rows(), c in rows()) {
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        }

        #[test]
        fn idempotent(a in rows(), b in rows()) {
            let once = merged(&a, &b);
            let mut twice = once.clone();
            prop_assert!(!twice.merge(&b), "said that it changed");
            prop_assert_eq!(twice, once);
        }

        #[test]
        fn change_is_told_truly(a in rows(), b in rows()) {
            let mut out = a.clone();
            prop_assert_eq!(out.merge(&b), out != a);
        }

        /// Whatever others say, the removed stay removed, until their owner adds a newer life.
        #[test]
        fn no_resurrection_by_third_parties(dead in rows(), said in prop::collection::vec(rows(), 0..8)) {
            let Some(removal) = dead.standing_removal() else { return Ok(()) };
            let mut row = dead;
            for other in &said {
                row.merge(other);
            }
            let owner_came_back = said.iter().filter_map(|row| row.life.as_ref()).any(|life| life.stamp > removal.stamp);
            prop_assert!(owner_came_back || row.state().is_none_or(|state| !state.is_live()), "{row:?}");
        }

        /// One more than what it is accused of is always enough.
        #[test]
        fn a_refutation_stands(accused in rows(), mut life in lives()) {
            let highest = [
                accused.life.as_ref().map(|life| life.stamp),
                accused.suspected(),
                accused.removal().map(|removal| removal.stamp),
            ];
            life.stamp = highest.into_iter().flatten().max().unwrap_or_default().next();
            let mut row = accused;
            row.add(Arc::new(life));
            prop_assert_eq!(row.state(), Some(MemberState::Alive));
        }
    }

    #[test]
    fn the_size_of_a_row() {
        assert_eq!(size_of::<Row>(), 16);
    }

    #[test]
    fn precedence_is_a_total_order() {
        use MemberState::{Alive, Failed, Left, Suspect};
        let order = [Alive, Suspect, Failed, Left];
        for (i, a) in order.into_iter().enumerate() {
            for (j, b) in order.into_iter().enumerate() {
                assert_eq!(outranks(a, b), i > j, "{a:?} over {b:?}");
            }
        }
    }
}
