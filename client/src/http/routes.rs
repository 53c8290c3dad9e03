//! Which node to ask: the addresses that are known, who leads, and who had better be left alone.
//!
//! Pure: time and chance are arguments. Reads stay with one node while it answers, which keeps connections warm and
//! reads monotonic without waiting; many clients spread over the nodes because each starts at a random one. Writes go to
//! the leader when it is known, which saves a hop.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

/// An address, `http://host:port`.
pub(super) type Endpoint = Arc<str>;

/// 1,024 addresses; more are ignored. A client needs a few, and what registries and nodes say must not fill its memory.
const MAX_ENDPOINTS: usize = 1024;
/// First pause after a failure: about an election at default settings.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause: a node that was down for an hour is tried within half a minute of its return.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// Whoever answers.
    Any,
    /// Whoever leads; anyone while that is unknown, since every node forwards.
    Leader,
}

/// The known addresses.
#[derive(Debug, Default)]
pub(super) struct Routes {
    known: Vec<Known>,
    leader: Option<Leader>,
    /// Whom to ask first.
    current: usize,
}

#[derive(Debug)]
struct Known {
    endpoint: Endpoint,
    id: Option<Uuid>,
    /// Named by the user: kept even when the cluster does not list it.
    given: bool,
    failures: u32,
    /// Left alone until then.
    until: Option<Instant>,
}

/// Who leads: the address is looked up late, since the id is often known first.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Leader {
    Id(Uuid),
    At(Endpoint),
}

impl Routes {
    /// Starts with what the user named; `chance` picks who is asked first.
    pub(super) fn new(given: impl IntoIterator<Item = Endpoint>, chance: usize) -> Self {
        let known = |endpoint| Known { endpoint, id: None, given: true, failures: 0, until: None };
        let known: Vec<_> = given.into_iter().take(MAX_ENDPOINTS).map(known).collect();
        Self { current: chance.checked_rem(known.len()).unwrap_or(0), known, leader: None }
    }

    /// Whether nothing is known at all.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Every address, the one that is asked first at the front.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        let (before, after) = self.known.split_at(self.current.min(self.known.len()));
        after.iter().chain(before).map(|known| known.endpoint.clone()).collect()
    }

    /// The best address for a request. When all are left alone, the one whose pause ends first: a client that has
    /// something to ask had better ask.
    pub(super) fn pick(&self, aim: Aim, now: Instant) -> Option<Endpoint> {
        if aim == Aim::Leader
            && let Some(leader) = self.leader().filter(|known| known.usable(now))
        {
            return Some(leader.endpoint.clone());
        }
        let in_turn = || (0..self.known.len()).map(|step| &self.known[(self.current + step) % self.known.len()]);
        let best = in_turn().find(|known| known.usable(now)).or_else(|| in_turn().min_by_key(|known| known.until));
        best.map(|known| known.endpoint.clone())
    }

    /// The best address to ask beside those that were asked already; none that is left alone.
    pub(super) fn pick_another(&self, aim: Aim, now: Instant, asked: &[Endpoint]) -> Option<Endpoint> {
        let fit = |known: &&Known| known.usable(now) && !asked.contains(&known.endpoint);
        let leader = self.leader().filter(|_| aim == Aim::Leader).filter(fit);
        let best = leader.or_else(|| {
            (0..self.known.len()).map(|step| &self.known[(self.current + step) % self.known.len()]).find(fit)
        });
        best.map(|known| known.endpoint.clone())
    }

    /// Whether there is an address that need not be left alone.
    pub(super) fn has_usable(&self, now: Instant) -> bool {
        self.known.iter().any(|known| known.usable(now))
    }

    /// A node is well but could not do it: somebody else is asked first from now on.
    pub(super) fn avoid(&mut self, endpoint: &str, aim: Aim) {
        if self.index(endpoint) == Some(self.current) {
            self.current = (self.current + 1) % self.known.len();
        }
        if aim == Aim::Leader {
            self.leader = None;
        }
    }

    fn leader(&self) -> Option<&Known> {
        self.known.iter().find(|known| match self.leader.as_ref() {
            Some(Leader::Id(id)) => known.id == Some(*id),
            Some(Leader::At(endpoint)) => known.endpoint == *endpoint,
            None => false,
        })
    }

    /// Whether a leader is known whose address is not.
    pub(super) fn misses_leader(&self) -> bool {
        self.leader.is_some() && self.leader().is_none()
    }

    /// A node answered and said who leads.
    pub(super) fn answered(&mut self, endpoint: &str, aim: Aim, node: Option<Uuid>, leader: Option<Uuid>) {
        if let Some(index) = self.index(endpoint) {
            let known = &mut self.known[index];
            (known.failures, known.until) = (0, None);
            if node.is_some() {
                known.id = node;
            }
            if aim == Aim::Any {
                self.current = index;
            }
        }
        if let Some(id) = leader {
            self.leader = Some(Leader::Id(id));
        }
    }

    /// A node said where the leader is; it becomes known if it was not.
    pub(super) fn leads(&mut self, endpoint: Endpoint) {
        if self.index(&endpoint).is_none() && self.known.len() < MAX_ENDPOINTS {
            self.known.push(Known { endpoint: endpoint.clone(), id: None, given: false, failures: 0, until: None });
        }
        self.leader = Some(Leader::At(endpoint));
    }

    /// A node says that it does not lead, or that nobody does.
    pub(super) fn nobody_leads(&mut self) {
        self.leader = None;
    }

    /// A node did not answer: it is left alone for a while, twice as long each time. `chance` from 0 to 1 spreads the
    /// returns of many clients over the second half of the pause.
    pub(super) fn failed(&mut self, endpoint: &str, now: Instant, chance: f64) {
        let Some(index) = self.index(endpoint) else { return };
        if self.leader().is_some_and(|leader| &*leader.endpoint == endpoint) {
            self.leader = None;
        }
        let known = &mut self.known[index];
        let pause = FIRST_PAUSE.saturating_mul(1 << known.failures.min(16)).min(LONGEST_PAUSE);
        known.failures = known.failures.saturating_add(1);
        known.until = Some(now + pause.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0));
        if index == self.current {
            self.current = (self.current + 1) % self.known.len();
        }
    }

    /// Takes over the list of a registry or a node. What neither it nor the user names is forgotten; what is known of the
    /// others stays.
    pub(super) fn replace(&mut self, listed: &[(Uuid, Endpoint)], leader: Option<Uuid>) {
        let current = self.known.get(self.current).map(|known| known.endpoint.clone());
        self.known.retain(|known| known.given || listed.iter().any(|(_, endpoint)| *endpoint == known.endpoint));
        for (id, endpoint) in listed {
            match self.index(endpoint) {
                Some(index) => self.known[index].id = Some(*id),
                None if self.known.len() < MAX_ENDPOINTS => self.known.push(Known {
                    endpoint: endpoint.clone(),
                    id: Some(*id),
                    given: false,
                    failures: 0,
                    until: None,
                }),
                None => {}
            }
        }
        self.current = current.and_then(|endpoint| self.index(&endpoint)).unwrap_or(0);
        if let Some(id) = leader {
            self.leader = Some(Leader::Id(id));
        }
    }

    fn index(&self, endpoint: &str) -> Option<usize> {
        self.known.iter().position(|known| &*known.endpoint == endpoint)
    }
}

impl Known {
    fn usable(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Endpoint {
        format!("http://h:{port}").into()
    }

    fn three() -> Routes {
        Routes::new([at(1), at(2), at(3)], 0)
    }

    #[test]
    fn reads_stay_with_the_node_that_answers_and_leave_the_one_that_does_not() {
        let (mut routes, now) = (three(), Instant::now());
        assert_eq!(routes.pick(Aim::Any, now), Some(at(1)));
        routes.failed(&at(1), now, 1.0);
        assert_eq!(routes.pick(Aim::Any, now), Some(at(2)));
        routes.answered(&at(2), Aim::Any, None, None);
        assert_eq!(routes.pick(Aim::Any, now + Duration::from_secs(60)), Some(at(2)), "no flapping back");
    }

    #[test]
    fn pauses_double_up_to_half_a_minute_and_end_with_an_answer() {
        let (mut routes, now) = (Routes::new([at(1), at(2)], 0), Instant::now());
        for _ in 0..40 {
            routes.failed(&at(1), now, 1.0);
        }
        routes.failed(&at(2), now, 1.0);
        assert_eq!(routes.pick(Aim::Any, now), Some(at(2)), "all are paused: the one whose pause ends first");
        assert_eq!(routes.known[0].until, Some(now + LONGEST_PAUSE));
        assert_eq!(routes.known[1].until, Some(now + FIRST_PAUSE));
        routes.answered(&at(1), Aim::Any, None, None);
        assert_eq!(routes.pick(Aim::Any, now), Some(at(1)));
    }

    #[test]
    fn writes_follow_the_leader_by_id_and_by_address_and_leave_a_dead_one() {
        let (mut routes, now) = (three(), Instant::now());
        let id = Uuid::from_u128(3);
        routes.answered(&at(1), Aim::Leader, None, Some(id));
        assert!(routes.misses_leader());
        assert_eq!(routes.pick(Aim::Leader, now), Some(at(1)), "anyone forwards");
        routes.replace(&[(id, at(3))], None);
        assert!(!routes.misses_leader());
        assert_eq!(routes.pick(Aim::Leader, now), Some(at(3)));
        assert_eq!(routes.pick(Aim::Any, now), Some(at(1)), "reads do not follow");
        routes.failed(&at(3), now, 1.0);
        assert_eq!(routes.pick(Aim::Leader, now), Some(at(1)));
        routes.leads(at(9));
        assert_eq!(routes.pick(Aim::Leader, now), Some(at(9)), "a hint makes an address known");
    }

    #[test]
    fn beside_the_silent_the_leader_is_asked_first_and_nobody_twice() {
        let (mut routes, now) = (three(), Instant::now());
        routes.leads(at(3));
        assert_eq!(routes.pick_another(Aim::Leader, now, &[at(1)]), Some(at(3)));
        assert_eq!(routes.pick_another(Aim::Leader, now, &[at(3)]), Some(at(1)));
        assert_eq!(routes.pick_another(Aim::Any, now, &[at(1)]), Some(at(2)));
        routes.failed(&at(2), now, 1.0);
        assert_eq!(routes.pick_another(Aim::Any, now, &[at(1), at(3)]), None, "the other one is left alone");
    }

    #[test]
    fn a_list_forgets_the_gone_but_never_what_the_user_named() {
        let mut routes = Routes::new([at(1)], 0);
        routes.replace(&[(Uuid::from_u128(2), at(2)), (Uuid::from_u128(3), at(3))], None);
        routes.replace(&[(Uuid::from_u128(3), at(3))], None);
        assert_eq!(routes.endpoints(), [at(1), at(3)]);
    }

    #[test]
    fn nothing_known_is_nothing_picked() {
        let mut routes = Routes::new([], 7);
        assert_eq!(routes.pick(Aim::Leader, Instant::now()), None);
        routes.failed("http://h:1", Instant::now(), 0.5);
        routes.answered("http://h:1", Aim::Any, None, None);
    }
}
