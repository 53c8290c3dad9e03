//! A request's body that knows whether any of it was taken yet.
//!
//! A connection takes the body together with the head of the request. So a request whose body nobody has taken is not on its way to anyone, however far
//! the connection has come, and one that is called off then never becomes whole: no server acts on it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

const WAITS: u8 = 0;
const TAKEN: u8 = 1;
const CALLED_OFF: u8 = 2;

/// What has become of a request's body.
#[derive(Debug, Clone)]
pub(super) struct Departure(Arc<AtomicU8>);

impl Departure {
    /// A body for a request, and how to learn of its departure. That of an empty one cannot be seen: it counts as taken.
    pub(super) fn of(bytes: Bytes) -> (Self, reqwest::Body) {
        let state = if bytes.is_empty() { TAKEN } else { WAITS };
        let departure = Self(Arc::new(AtomicU8::new(state)));
        let body = match state {
            TAKEN => reqwest::Body::from(bytes),
            _ => reqwest::Body::wrap(Outgoing { bytes: Some(bytes), departure: departure.clone() }),
        };
        (departure, body)
    }

    /// Calls the request off. True: it was in time, and nobody has it or ever will.
    pub(super) fn call_off(&self) -> bool {
        self.0.compare_exchange(WAITS, CALLED_OFF, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn take(&self) -> bool {
        !matches!(self.0.compare_exchange(WAITS, TAKEN, Ordering::AcqRel, Ordering::Acquire), Err(CALLED_OFF))
    }
}

#[derive(Debug)]
struct Outgoing {
    bytes: Option<Bytes>,
    departure: Departure,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !self.departure.take() {
            return Poll::Ready(Some(Err(io::Error::other("called off"))));
        }
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing() -> (Departure, Outgoing) {
        let departure = Departure(Arc::new(AtomicU8::new(WAITS)));
        (departure.clone(), Outgoing { bytes: Some(Bytes::from_static(b"v")), departure })
    }

    fn frame(body: &mut Outgoing) -> Option<Result<Frame<Bytes>, io::Error>> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(frame) => frame,
            Poll::Pending => panic!("it is all there"),
        }
    }

    #[test]
    fn what_was_taken_cannot_be_called_off_and_the_reverse() {
        let (departure, mut body) = outgoing();
        assert_eq!(body.size_hint().exact(), Some(1));
        assert!(frame(&mut body).is_some_and(|frame| frame.is_ok()));
        assert!(!departure.call_off() && body.is_end_stream() && frame(&mut body).is_none());
        let (departure, mut body) = outgoing();
        assert!(departure.call_off());
        assert!(frame(&mut body).is_some_and(|frame| frame.is_err()));
    }

    #[test]
    fn nothing_is_said_of_an_empty_body() {
        assert!(!Departure::of(Bytes::new()).0.call_off());
    }
}
