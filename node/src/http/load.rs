//! How much is going on, and when it is too much: requests in flight, and the bytes of their bodies.
//!
//! A request over either bound is refused at once with 429, which is kinder to the caller than a queue that it cannot see.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::ApiError;

/// 4,096 requests: several hundred milliseconds of work at full speed; more would only wait longer.
const MAX_IN_FLIGHT: usize = 4_096;
/// 64 MiB of bodies that are being received or wait to be written, and at least four of the largest kind.
const BODY_BUDGET: usize = 64 << 20;

/// Both gauges.
#[derive(Debug)]
pub(super) struct Load {
    in_flight: AtomicUsize,
    body_bytes: AtomicUsize,
    body_budget: usize,
}

/// A share of a gauge, given back when dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    gauge: &'a AtomicUsize,
    amount: usize,
}

impl Load {
    /// Nothing is going on yet.
    pub(super) fn new(max_value_size: usize) -> Self {
        let body_budget = BODY_BUDGET.max(max_value_size.saturating_mul(4));
        Self { in_flight: AtomicUsize::new(0), body_bytes: AtomicUsize::new(0), body_budget }
    }

    /// Counts a request in; `always` for those that tell how the node is, which are not refused.
    pub(super) fn request(&self, always: bool) -> Result<Share<'_>, ApiError> {
        take(&self.in_flight, 1, if always { usize::MAX } else { MAX_IN_FLIGHT })
    }

    /// Counts a body of (at most) so many bytes in.
    pub(super) fn body(&self, bytes: usize) -> Result<Share<'_>, ApiError> {
        take(&self.body_bytes, bytes, self.body_budget)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn body_bytes(&self) -> usize {
        self.body_bytes.load(Ordering::Relaxed)
    }
}

fn take(gauge: &AtomicUsize, amount: usize, bound: usize) -> Result<Share<'_>, ApiError> {
    // Relaxed: these are counts, nothing else is published by them. Added first, so that two cannot both take the last.
    let before = gauge.fetch_add(amount, Ordering::Relaxed);
    let share = Share { gauge, amount };
    if before.saturating_add(amount) > bound { Err(ApiError::overloaded()) } else { Ok(share) }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.gauge.fetch_sub(self.amount, Ordering::Relaxed);
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
        let four = [(); 4].map(|()| load.body(32 << 20).unwrap());
        assert!(load.body(1).is_err());
        drop(four);
        assert_eq!(load.body_bytes(), 0);
    }
}
