//! Long answers: handed over in pieces, and counted until their clients have taken them.
//!
//! The server copies what a body gives it into a buffer of the connection, all at once if it comes in one piece, and keeps that until the
//! client has read it. In pieces, a client that does not read costs a piece and what it asked for, and the latter has a budget.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;

/// 64 KiB: a longer piece would cost more than all else of a connection.
const LONG: usize = 64 * 1024;

/// What clients asked for and have not taken, over all connections.
#[derive(Debug)]
pub struct Outgoing {
    bytes: Arc<AtomicUsize>,
    budget: usize,
}

/// Clients leave too much of what they asked for unread. Nothing is wrong with the request; it may be sent again a little later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuchUnread;

impl Outgoing {
    /// With so many bytes at most.
    pub fn new(budget: usize) -> Self {
        Self { bytes: Arc::default(), budget }
    }

    /// How many there are.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether a body of about so many bytes would fit now: asked before it is made.
    ///
    /// # Errors
    /// When it would not.
    pub fn has_room(&self, bytes: usize) -> Result<(), TooMuchUnread> {
        let fits = bytes <= LONG || self.bytes().saturating_add(bytes) <= self.budget;
        if fits { Ok(()) } else { Err(TooMuchUnread) }
    }

    /// A body of these bytes. Short ones are not counted.
    ///
    /// # Errors
    /// When it does not fit the budget now.
    pub fn body(&self, bytes: Bytes) -> Result<BoxBody, TooMuchUnread> {
        if bytes.len() <= LONG {
            return Ok(BoxBody::new(bytes));
        }
        // Relaxed: it is a count, nothing else is published by it. Added first, so that two cannot both take the last.
        let before = self.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        let share = Share { of: Arc::clone(&self.bytes), bytes: bytes.len() };
        if before.saturating_add(bytes.len()) > self.budget {
            return Err(TooMuchUnread);
        }
        Ok(BoxBody::new(Long { left: bytes, _share: share }))
    }
}

#[derive(Debug)]
struct Share {
    of: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Long {
    left: Bytes,
    _share: Share,
}

impl MessageBody for Long {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.left.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let piece = self.left.len().min(LONG);
        Poll::Ready((piece > 0).then(|| Ok(self.left.split_to(piece))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_body_comes_whole_and_is_counted_until_it_is_gone() {
        let outgoing = Outgoing::new(LONG * 3);
        let bytes = Bytes::from((0..LONG * 2 + 1).map(|n| n as u8).collect::<Vec<_>>());
        let mut body = Box::pin(outgoing.body(bytes.clone()).unwrap());
        assert_eq!(body.size(), BodySize::Sized(bytes.len() as u64));
        let mut got = Vec::new();
        let mut context = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(Some(piece)) = body.as_mut().poll_next(&mut context) {
            let piece = piece.unwrap();
            assert!(piece.len() <= LONG);
            got.extend_from_slice(&piece);
            assert_eq!(outgoing.bytes(), bytes.len());
        }
        assert_eq!(got, bytes);
        assert!(outgoing.body(bytes.clone()).is_err() && outgoing.has_room(bytes.len()).is_err());
        outgoing.body(bytes.slice(..LONG)).unwrap();
        drop(body);
        assert_eq!(outgoing.bytes(), 0);
        outgoing.has_room(bytes.len()).unwrap();
        outgoing.body(bytes).unwrap();
    }
}
