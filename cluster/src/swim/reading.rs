//! What comes in by frames is merged a slice at a time: a step merges so many statements, and packets, timers and other streams have
//! their turn in between.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use std::vec;

use uuid::Uuid;

use super::Swim;
use super::event::Event;
use super::exchange::DIALLED;
use super::membership::Teller;
use super::timer::Timer;
use super::wire::Message;
use crate::time::Now;

/// Statements that are merged in one step: some tenths of a millisecond, if all are news.
const SLICE: usize = 128;

/// Frames that wait: those of our own exchanges, and as many again of those that we accepted, which drivers bound as well. Full, a
/// stream is given up.
const FRAMES: usize = 4 * DIALLED;

/// The next slice is due after this: at once, but behind what waits already.
const PAUSE: Duration = Duration::from_micros(1);

/// Members that a frame newly accuses and that hear of it from us directly, so that they can refute within a round trip. When two
/// halves meet again, each accuses all of the other's.
const TOLD_DIRECTLY: usize = 32;

/// What follows once a frame is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// There is nothing to merge in it.
    Wait,
    /// Its sender goes on.
    Nothing,
    /// The next page is asked for.
    Ask { number: u64, after: Uuid },
    /// The exchange is done. `all`: that was the full state.
    Conclude { all: bool },
}

/// A frame that is being merged.
#[derive(Debug)]
pub(super) struct Frame {
    sender: Uuid,
    /// Where it is reached.
    told_from: Option<SocketAddr>,
    messages: vec::IntoIter<Message>,
    /// Whom it newly accuses.
    accused: Vec<Uuid>,
    then: Then,
}

impl Frame {
    pub(super) fn new(sender: Uuid, told_from: Option<SocketAddr>, messages: Vec<Message>, then: Then) -> Self {
        Self { sender, told_from, messages: messages.into_iter(), accused: Vec::new(), then }
    }
}

/// Frames in the order in which they came. A timer runs while there are any.
pub(super) type Reading = VecDeque<Frame>;

impl Swim {
    /// Merges a frame if it is short and no other waits, or puts it behind the others; false when too many wait.
    pub(super) fn read(&mut self, now: Now, frame: Frame) -> bool {
        if self.reading.len() >= FRAMES {
            self.stats.overloaded += 1;
            return false;
        }
        // To decode a long one was enough for a step.
        let long = frame.messages.len() > SLICE;
        let first = self.reading.is_empty();
        self.reading.push_back(frame);
        match (first, long) {
            (true, false) => self.read_on(now),
            (true, true) => self.timers.set(now.mono + PAUSE, Timer::Reading),
            (false, _) => {}
        }
        true
    }

    /// Merges the next slice.
    pub(super) fn read_on(&mut self, now: Now) {
        let Some(mut frame) = self.reading.pop_front() else { return };
        let teller = frame.told_from.map(|address| Teller { id: frame.sender, address });
        for message in frame.messages.by_ref().take(SLICE) {
            let Message::Statement(statement) = message else { continue };
            let id = statement.id();
            if self.take_in(now, statement, teller) && frame.accused.len() < TOLD_DIRECTLY {
                frame.accused.push(id);
            }
        }
        if frame.messages.as_slice().is_empty() {
            self.finish(now, frame);
        } else {
            self.reading.push_front(frame);
        }
        if !self.reading.is_empty() {
            self.timers.set(now.mono + PAUSE, Timer::Reading);
        }
    }

    fn finish(&mut self, now: Now, frame: Frame) {
        self.note_heard(now.mono, frame.sender);
        match frame.then {
            Then::Wait | Then::Nothing => {}
            Then::Ask { number, after } => self.ask_on(now, number, after),
            // Differences alone do not tell who has just started all that it should know before it speaks.
            Then::Conclude { all } if all || self.own.synced => {
                self.own.synced = true;
                self.event(Event::Synced { with: frame.sender });
                if self.announce(now)
                    && let Some(address) = frame.told_from
                {
                    // Now that we have listened, whom we listened to shall know us.
                    self.meet(now, frame.sender, address);
                }
            }
            Then::Conclude { .. } => {}
        }
        for id in frame.accused {
            if let Some((_, address)) = self.life_of(id) {
                self.send(now, Some(id), address, None);
            }
        }
    }
}
