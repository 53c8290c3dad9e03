//! One question that many ask at once, answered in rounds.
//!
//! Whoever asks while a round is under way waits for the next: the present one may have looked before the question was asked.

use tokio::sync::{mpsc, oneshot};

use super::wire::Refusal;

/// Who may wait for the next round. Full: refused as overloaded.
const WAITING: usize = 16 * 1024;

type Asker<T> = oneshot::Sender<Result<T, Refusal>>;

/// The question. Cheap to clone.
#[derive(Debug)]
pub(super) struct Question<T>(mpsc::Sender<Asker<T>>);

/// Its rounds, for whoever answers.
#[derive(Debug)]
pub(super) struct Rounds<T>(mpsc::Receiver<Asker<T>>);

/// Those who asked before it began.
#[derive(Debug)]
pub(super) struct Round<T>(Vec<Asker<T>>);

/// A question and its rounds.
pub(super) fn question<T>() -> (Question<T>, Rounds<T>) {
    let (asking, asked) = mpsc::channel(WAITING);
    (Question(asking), Rounds(asked))
}

impl<T> Clone for Question<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Question<T> {
    /// The answer of a round that begins after this was called.
    ///
    /// # Errors
    /// What that round ended with; overloaded when too many wait, not the leader when nobody answers any more.
    pub(super) async fn ask(&self) -> Result<T, Refusal> {
        let (asker, answer) = oneshot::channel();
        self.0.try_send(asker).map_err(|_| Refusal::Overloaded)?;
        answer.await.unwrap_or(Err(Refusal::NotLeader(None)))
    }
}

impl<T: Clone> Rounds<T> {
    /// Begins the next round, once somebody asks; `None` when nobody can any more. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Round<T>> {
        let mut askers = vec![self.0.recv().await?];
        while let Ok(more) = self.0.try_recv() {
            askers.push(more);
        }
        Some(Round(askers))
    }
}

impl<T: Clone> Round<T> {
    /// Ends it with one answer for all.
    pub(super) fn end(self, answer: &Result<T, Refusal>) {
        for asker in self.0 {
            // Who gave up does not hear it.
            let _: Result<_, _> = asker.send(answer.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_asks_while_a_round_is_under_way_waits_for_the_next() {
        let (question, mut rounds) = question();
        let (mut early, mut as_early) = (Box::pin(question.ask()), Box::pin(question.ask()));
        assert!((&mut early).now_or_never().is_none() && (&mut as_early).now_or_never().is_none());
        let first = rounds.next().await.unwrap();
        let mut late = Box::pin(question.ask());
        assert!((&mut late).now_or_never().is_none());
        first.end(&Ok(1));
        assert_eq!((early.await.unwrap(), as_early.await.unwrap()), (1, 1));
        assert!((&mut late).now_or_never().is_none(), "it asked after that round began");
        rounds.next().await.unwrap().end(&Ok(2));
        assert_eq!(late.await.unwrap(), 2);
    }

    #[tokio::test]
    async fn too_many_are_refused_and_so_is_who_is_forgotten() {
        let (question, rounds) = question::<u64>();
        let waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(question.ask())).collect();
        let mut waiting: Vec<_> = waiting.into_iter().map(|mut asker| ((&mut asker).now_or_never(), asker)).collect();
        assert!(waiting.iter().all(|(answer, _)| answer.is_none()));
        assert!(matches!(question.ask().await, Err(Refusal::Overloaded)));
        drop(rounds);
        let (_, last) = waiting.pop().unwrap();
        assert!(matches!(last.await, Err(Refusal::NotLeader(None))));
    }
}
