//! How much is going on, and when it is too much: requests in flight, the bytes of their bodies, and those of long answers.
//!
//! A request over a bound is refused at once with 429, which is kinder to the caller than a queue that it cannot see. What counts is what
//! is really there: a client that announces much, or sends and reads slowly, takes nobody else's place.

use std::sync::atomic::{AtomicUsize, Ordering};

use muster_listener::Outgoing;

use super::error::ApiError;

/// 4,096 requests: several hundred milliseconds of work at full speed; more would only wait longer.
const MAX_IN_FLIGHT: usize = 4_096;
/// 4,096 reads that wait for a revision: they cost little, but may wait for a minute.
const MAX_WAITING: usize = 4_096;
/// 64 MiB of bodies that are being received or wait to be written, and at least four of the largest kind.
const BODY_BUDGET: usize = 64 << 20;
/// 256 MiB of long answers that their clients have not taken yet: fifty of the longest pages, or sixteen of the longest values.
const ANSWER_BUDGET: usize = 256 << 20;

/// All gauges.
#[derive(Debug)]
pub(super) struct Load {
    in_flight: AtomicUsize,
    waiting: AtomicUsize,
    body_bytes: AtomicUsize,
    body_budget: usize,
    /// Long answers.
    pub(super) outgoing: Outgoing,
}

/// A share of a gauge, given back when dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    gauge: &'a AtomicUsize,
    amount: usize,
    bound: usize,
}

/// A request in flight that is not counted as such for as long as its client, or somebody else, is waited for.
#[derive(Debug)]
pub(super) struct Aside<'a> {
    in_flight: &'a AtomicUsize,
    waiting: Option<Share<'a>>,
}

impl Load {
    /// Nothing is going on yet.
    pub(super) fn new(max_value_size: usize) -> Self {
        let gauge = || AtomicUsize::new(0);
        let body_budget = BODY_BUDGET.max(max_value_size.saturating_mul(4));
        let outgoing = Outgoing::new(ANSWER_BUDGET);
        Self { in_flight: gauge(), waiting: gauge(), body_bytes: gauge(), body_budget, outgoing }
    }

    /// Counts a request in; `always` for those that tell how the node is, which are not refused.
    pub(super) fn request(&self, always: bool) -> Result<Share<'_>, ApiError> {
        take(&self.in_flight, 1, if always { usize::MAX } else { MAX_IN_FLIGHT })
    }

    /// Counts a body in that will have so many bytes (at most). Refused if there is no room for them now; they take it as they come
    /// ([`Share::grow`]).
    pub(super) fn body(&self, bytes: usize) -> Result<Share<'_>, ApiError> {
        take(&self.body_bytes, bytes, self.body_budget)?;
        take(&self.body_bytes, 0, self.body_budget)
    }

    /// A request that is counted in waits for its own client, which the number of connections bounds.
    pub(super) fn await_client(&self) -> Aside<'_> {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        Aside { in_flight: &self.in_flight, waiting: None }
    }

    /// A request that is counted in waits for what others do.
    pub(super) fn await_others(&self) -> Result<Aside<'_>, ApiError> {
        let waiting = take(&self.waiting, 1, MAX_WAITING)?;
        let mut aside = self.await_client();
        aside.waiting = Some(waiting);
        Ok(aside)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn body_bytes(&self) -> usize {
        self.body_bytes.load(Ordering::Relaxed)
    }
}

fn take(gauge: &AtomicUsize, amount: usize, bound: usize) -> Result<Share<'_>, ApiError> {
    let mut share = Share { gauge, amount: 0, bound };
    share.grow(amount)?;
    Ok(share)
}

impl Share<'_> {
    /// Takes more.
    ///
    /// # Errors
    /// When that is over the bound; drop what it was for.
    pub(super) fn grow(&mut self, amount: usize) -> Result<(), ApiError> {
        // Relaxed: these are counts, nothing else is published by them. Added first, so that two cannot both take the last.
        let before = self.gauge.fetch_add(amount, Ordering::Relaxed);
        self.amount += amount;
        if before.saturating_add(amount) > self.bound { Err(ApiError::overloaded()) } else { Ok(()) }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.gauge.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

impl Aside<'_> {
    /// The wait is over: it counts again.
    ///
    /// # Errors
    /// When there are too many by now.
    pub(super) fn back(mut self) -> Result<(), ApiError> {
        let in_flight = self.in_flight;
        self.waiting = None;
        drop(self);
        if in_flight.load(Ordering::Relaxed) > MAX_IN_FLIGHT { Err(ApiError::overloaded()) } else { Ok(()) }
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        // Whoever counted it in counts it out later.
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_a_bound_is_refused_until_something_ends() {
        let load = Load::new(1 << 20);
        let mut taken: Vec<_> = (0..MAX_IN_FLIGHT).map(|_| load.request(false).unwrap()).collect();
        assert!(load.request(false).is_err());
        assert!(load.request(true).is_ok());
        taken.pop();
        assert!(load.request(false).is_ok());
        drop(taken);
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn bodies_share_a_budget_that_fits_four_of_the_largest() {
        let load = Load::new(32 << 20);
        let four = [(); 4].map(|()| {
            let mut share = load.body(32 << 20).unwrap();
            share.grow(32 << 20).unwrap();
            share
        });
        assert!(load.body(1).is_err());
        drop(four);
        assert_eq!(load.body_bytes(), 0);
    }

    #[test]
    fn what_is_announced_and_does_not_come_takes_no_room() {
        let load = Load::new(32 << 20);
        let announced = [(); 100].map(|()| load.body(32 << 20).unwrap());
        assert_eq!(load.body_bytes(), 0);
        let mut one = load.body(1).unwrap();
        one.grow(1).unwrap();
        drop((announced, one));
        assert_eq!(load.body_bytes(), 0);
    }

    #[test]
    fn who_waits_aside_takes_nobodys_place_and_comes_back_to_a_bound() {
        let load = Load::new(1 << 20);
        let first = load.request(false).unwrap();
        let aside = load.await_client();
        let mut others: Vec<_> = (0..MAX_IN_FLIGHT).map(|_| load.request(false).unwrap()).collect();
        assert!(aside.back().is_err());
        others.truncate(MAX_IN_FLIGHT / 2);
        let aside = load.await_others().unwrap();
        assert_eq!((load.in_flight(), load.waiting()), (MAX_IN_FLIGHT / 2, 1));
        aside.back().unwrap();
        // Given up in the middle of the wait.
        drop(load.await_others().unwrap());
        drop((first, others));
        assert_eq!((load.in_flight(), load.waiting()), (0, 0));
    }
}
