//! A request without entries that waits a moment for company.
//!
//! A follower learns what is committed from the leader's next request. While a client writes one thing after another, that request is its next
//! write; sent at once, the news alone costs a request and an answer for every write and follower, on the threads that the next write needs.
//!
//! Nothing but the follower's own copy waits for it: the writer is answered by the leader, and a linearizable read makes the leader tell every
//! follower how far it is committed, by its heartbeat.

use std::time::Duration;

use openraft::raft::AppendEntriesRequest;
use tokio::time::Instant;

use super::types::TypeConfig;

/// 1 ms: longer than a client needs between an answer and its next request, shorter than anybody would notice a copy to be older for.
const COMPANY: Duration = Duration::from_millis(1);

type Request = AppendEntriesRequest<TypeConfig>;

/// Holds one request at most.
#[derive(Debug, Default)]
pub(super) struct Held {
    request: Option<(Request, Instant)>,
}

impl Held {
    /// What is to be sent now that this request has come. A later one says all that an earlier one without entries has to say.
    pub(super) fn pass(&mut self, request: Request, now: Instant) -> Option<Request> {
        let earlier = self.request.take();
        if !request.entries.is_empty() {
            return Some(request);
        }
        self.request = Some((request, earlier.map_or(now + COMPANY, |(_, due)| due)));
        None
    }

    /// When it goes without company.
    pub(super) fn due(&self) -> Option<Instant> {
        self.request.as_ref().map(|(_, due)| *due)
    }

    /// Gives it away: it is due, or no company will come.
    pub(super) fn take(&mut self) -> Option<Request> {
        self.request.take().map(|(request, _)| request)
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{Entry, NodeId, Payload, Vote, log_id};
    use super::*;
    use crate::storage::Position;

    fn request(entries: usize, committed: u64) -> Request {
        let at = |index| log_id(Position { term: 1, index });
        let entries = (0..entries).map(|_| Entry { log_id: at(9), payload: Payload::Blank }).collect();
        AppendEntriesRequest {
            vote: Vote::new(1, NodeId::default()),
            prev_log_id: None,
            leader_commit: Some(at(committed)),
            entries,
        }
    }

    /// How many entries it brings, and how far it says is committed.
    fn seen(request: Option<Request>) -> Option<(usize, Option<u64>)> {
        request.map(|request| (request.entries.len(), request.leader_commit.map(|committed| committed.index)))
    }

    #[test]
    fn news_alone_waits_once_and_what_has_entries_goes_at_once_and_takes_it_along() {
        let (mut held, start) = (Held::default(), Instant::now());
        assert!(held.due().is_none() && held.take().is_none());
        assert_eq!(seen(held.pass(request(1, 1), start)), Some((1, Some(1))));
        assert_eq!(held.due(), None);

        assert_eq!(seen(held.pass(request(0, 2), start)), None);
        assert_eq!(seen(held.pass(request(0, 3), start + COMPANY / 2)), None);
        assert_eq!(held.due(), Some(start + COMPANY), "the first one's time counts");
        assert_eq!(seen(held.take()), Some((0, Some(3))), "the last one's news counts");
        assert_eq!(held.due(), None);

        assert_eq!(seen(held.pass(request(0, 4), start)), None);
        assert_eq!(seen(held.pass(request(2, 4), start)), Some((2, Some(4))));
        assert!(held.due().is_none() && held.take().is_none(), "the news went along");
    }
}
