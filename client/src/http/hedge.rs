//! Asking a second node while the first is silent: a hedged request.
//!
//! A node whose host was lost, or that is stopped, says nothing at all, and only time tells it from a slow one. So after a wait that an
//! answer seldom needs, the same request goes to another node as well, and the first answer that counts is taken. Only what may be repeated
//! is hedged: reads, and writes under their idempotency key, which the cluster applies once whichever copy arrives first.
//! (Dean and Barroso, "The Tail at Scale", call it so and bound it likewise.)
//!
//! What it may cost is bounded twice: a request is with [`IN_FLIGHT`] nodes at most, and hedges are paid for by answers that came
//! without one ([`Budget`]), so that a cluster that is slow because it is busy gets a tenth more requests, and not twice as many.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::client::{Attempts, Client, Failed};
use super::retry::{self, Next};
use super::routes::{Aim, Endpoint};
use super::transport::{Answer, Request};

/// Three nodes have a request at most: two of five may be silent.
const IN_FLIGHT: usize = 3;
/// What one hedge costs, in answers that came without.
const PRICE: u32 = 10;
/// What can be saved up, and what there is to begin with: ten hedges, since a leader that is lost may leave a handful of calls hanging.
const SAVINGS: u32 = 10 * PRICE;

/// What hedges are paid from.
#[derive(Debug)]
pub(super) struct Budget(AtomicU32);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU32::new(SAVINGS))
    }
}

impl Budget {
    /// An answer came without a hedge.
    fn earn(&self) {
        // A full purse is the rule, and needs no write.
        if self.0.load(Ordering::Relaxed) < SAVINGS {
            let more = |saved: u32| (saved < SAVINGS).then_some(saved + 1);
            let _: Result<_, _> = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }

    /// Pays for a hedge; false: there is not enough.
    fn pay(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(PRICE)).is_ok()
    }
}

impl Client {
    /// Has a request answered by `node`, or by another that is asked beside it once that is silent. The error is the last node's;
    /// those of the others are in `attempts`.
    pub(super) async fn race(
        &self,
        node: Endpoint,
        request: &Request,
        aim: Aim,
        deadline: Instant,
        attempts: &mut Attempts,
    ) -> Result<Answer, (Endpoint, Failed)> {
        let ask = |node: Endpoint| async move {
            let answer = self.attempt(&node, request, aim, deadline).await;
            (node, answer)
        };
        let patience = self.shared.settings.hedge_after.saturating_add(request.upload());
        let mut asked = vec![node.clone()];
        let mut running = FuturesUnordered::from_iter([ask(node)]);
        let may_hedge = request.repeatable && !request.slow;
        let mut hedge_at = if may_hedge { Instant::now().checked_add(patience) } else { None };
        loop {
            tokio::select! {
                biased;
                Some((node, answer)) = running.next() => {
                    let failed = match answer {
                        Ok(answer) => {
                            match &asked[..] {
                                [_] => self.shared.hedges.earn(),
                                _ => self.leave_the_silent(&asked, &node),
                            }
                            return Ok(answer);
                        }
                        Err(failed) => failed,
                    };
                    if running.is_empty() {
                        return Err((node, failed));
                    }
                    if retry::next(&failed.error, request.repeatable, attempts.count) == Next::GiveUp {
                        // Who is silent may yet do it.
                        attempts.unknown |= request.writes;
                        return Err((node, failed));
                    }
                    let pause = self.after(&node, request, aim, &failed, attempts);
                    attempts.add(&node, request, failed);
                    asked.retain(|asked| *asked != node);
                    hedge_at = pause.map(|pause| Instant::now() + pause);
                }
                () = sleep_until(hedge_at.unwrap_or(deadline)), if hedge_at.is_some() => {
                    let another = self.routes().pick_another(aim, Instant::now(), &asked);
                    hedge_at = None;
                    if let Some(another) = another.filter(|_| self.shared.hedges.pay()) {
                        log::debug!("no answer from {} for {patience:?}: asking {another} as well", asked.join(", "));
                        asked.push(another.clone());
                        running.push(ask(another));
                        hedge_at = (running.len() < IN_FLIGHT).then(|| Instant::now() + patience);
                    }
                }
            }
        }
    }

    /// Another one has answered: those that were asked before are left alone for a while.
    fn leave_the_silent(&self, asked: &[Endpoint], answered: &Endpoint) {
        let (mut routes, now) = (self.routes(), Instant::now());
        // Who was asked later may be as well as the one that was faster.
        for silent in asked.iter().take_while(|node| *node != answered) {
            routes.failed(silent, now, rand::random());
        }
    }
}

/// 300 ms: the default election time-out, and a hundred times what an answer takes. A node that still waits for a leader then is not
/// hurried by a second one that waits, but neither is it slowed down.
pub(super) const HEDGE_AFTER: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hedges_are_paid_for_by_answers() {
        let budget = Budget::default();
        assert_eq!((0..100).filter(|_| budget.pay()).count(), 10, "saved up before");
        for _ in 0..PRICE - 1 {
            budget.earn();
        }
        assert!(!budget.pay());
        budget.earn();
        assert!(budget.pay());
        for _ in 0..10 * SAVINGS {
            budget.earn();
        }
        assert_eq!((0..100).filter(|_| budget.pay()).count(), 10, "no more can be saved");
    }
}
