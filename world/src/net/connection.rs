//! A connection: two directions, each a queue of segments that arrive in order, and what the systems of both machines make of them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::LOST;
use crate::queue::Arrival;
use crate::world::{Millis, World, try_with, with};

/// Bytes of one direction that may be under way or wait to be read.
pub(super) const WINDOW: usize = 64 << 10;

/// What is lost is sent again after so long, and then after twice as long each time.
const FIRST_AGAIN: Millis = 200;
/// But not later than this.
const LAST_AGAIN: Millis = 5_000;
/// A request for a connection that nobody answers is sent again after so long.
const SYN_AGAIN: Millis = 1_000;

/// Who is at an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Dialler,
    Acceptor,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

/// Whether there is a connection, as the dialler knows.
#[derive(Debug, Default)]
pub(super) struct Dialling {
    pub(super) answer: Option<bool>,
    pub(super) waits: Option<Waker>,
    /// The dialler does not wait any more.
    pub(super) given_up: bool,
}

#[derive(Debug)]
pub(crate) struct Connection {
    ends: [(usize, SocketAddr); 2],
    pub(super) dialling: Mutex<Dialling>,
    /// What each side sends.
    directions: [Mutex<Direction>; 2],
}

/// What one side sends and the other reads.
#[derive(Debug, Default)]
pub(super) struct Direction {
    /// Under way; nothing overtakes.
    under_way: VecDeque<(Millis, Segment)>,
    bytes_under_way: usize,
    /// A segment was lost: nothing arrives before this.
    held_until: Millis,
    again: Millis,
    /// Since when nothing gets through.
    stuck: Option<Millis>,
    /// Arrived.
    pub(super) inbox: VecDeque<u8>,
    /// The end arrived.
    pub(super) ended: bool,
    /// The writer has sent the end.
    pub(super) closed: bool,
    /// Nobody reads any more.
    pub(super) unread: bool,
    /// The reader has been told that the connection is none any more; the writer.
    pub(super) reset: [bool; 2],
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

/// In [`Direction::reset`].
pub(super) const READER: usize = 0;
/// Likewise.
pub(super) const WRITER: usize = 1;

#[derive(Debug)]
enum Segment {
    Bytes(Vec<u8>),
    End,
}

impl Direction {
    /// How much more may be sent now.
    pub(super) fn room(&self) -> usize {
        WINDOW.saturating_sub(self.bytes_under_way + self.inbox.len())
    }
}

fn index(side: Side) -> usize {
    match side {
        Side::Dialler => 0,
        Side::Acceptor => 1,
    }
}

impl Connection {
    /// Asks for a connection from this machine.
    pub(super) fn ask(world: &mut World, from: SocketAddr, to: SocketAddr) -> Option<Arc<Self>> {
        let (source, target) = (world.find(from.ip())?, world.find(to.ip())?);
        let connection = Arc::new(Self {
            ends: [(source, from), (target, to)],
            dialling: Mutex::default(),
            directions: [Mutex::default(), Mutex::default()],
        });
        let at = world.now + world.delay(source, target);
        world.put(at, Arrival::Syn(connection.clone()));
        Some(connection)
    }

    pub(super) fn address(&self, side: Side) -> SocketAddr {
        self.ends[index(side)].1
    }

    fn machine(&self, side: Side) -> usize {
        self.ends[index(side)].0
    }

    /// What this side sends.
    pub(super) fn from(&self, side: Side) -> MutexGuard<'_, Direction> {
        self.directions[index(side)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dialling(&self) -> MutexGuard<'_, Dialling> {
        self.dialling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends bytes, as many as there is room for.
    pub(super) fn send(self: &Arc<Self>, side: Side, bytes: &[u8]) {
        self.put(side, Segment::Bytes(bytes.to_vec()));
    }

    /// Sends the end, unless the machine is without power or the end was sent.
    pub(super) fn close(self: &Arc<Self>, side: Side) {
        let powered = try_with(|world| world.machines[self.machine(side)].powered);
        if !std::mem::replace(&mut self.from(side).closed, true) && powered == Some(true) {
            self.put(side, Segment::End);
        }
    }

    fn put(self: &Arc<Self>, side: Side, segment: Segment) {
        let (from, to) = (self.machine(side), self.machine(side.other()));
        let mut direction = self.from(side);
        with(|world| {
            if !world.machines[from].powered {
                return;
            }
            let earliest = direction.under_way.back().map_or(0, |(due, _)| *due);
            let due = earliest.max(world.now + world.delay(from, to));
            if let Segment::Bytes(bytes) = &segment {
                direction.bytes_under_way += bytes.len();
            }
            direction.under_way.push_back((due, segment));
            world.put(due, Arrival::Segments(self.clone(), side));
        });
    }

    /// Tells a side, as far as the network lets us, that there is no connection.
    fn send_reset(self: &Arc<Self>, to: Side) {
        let (source, target) = (self.machine(to.other()), self.machine(to));
        with(|world| {
            if world.segment_passes(source, target) {
                let at = world.now + world.delay(source, target);
                world.put(at, Arrival::Reset(self.clone(), to));
            }
        });
    }
}

/// The acceptor's machine is asked for a connection.
pub(super) fn asked(connection: &Arc<Connection>) {
    if connection.dialling().given_up {
        return;
    }
    let (from, to) = (connection.machine(Side::Dialler), connection.machine(Side::Acceptor));
    let listener = with(|world| {
        if !world.segment_passes(from, to) {
            world.put(world.now + SYN_AGAIN, Arrival::Syn(connection.clone()));
            return None;
        }
        world.note(("syn", connection.ends));
        let listener = world.machines[to].listeners.get(&connection.address(Side::Acceptor).port()).cloned();
        answer(world, connection, listener.is_some());
        listener
    });
    if let Some(listener) = listener {
        listener.take(connection.clone());
    }
}

fn answer(world: &mut World, connection: &Arc<Connection>, taken: bool) {
    let (from, to) = (connection.machine(Side::Acceptor), connection.machine(Side::Dialler));
    let again = if world.segment_passes(from, to) { 0 } else { SYN_AGAIN };
    let at = world.now + again + world.delay(from, to);
    world.put(at, Arrival::SynAnswer(connection.clone(), taken));
}

/// The dialler's machine hears what became of its request.
pub(super) fn answered(connection: &Arc<Connection>, taken: bool) {
    let (from, to) = (connection.machine(Side::Acceptor), connection.machine(Side::Dialler));
    if !with(|world| world.segment_passes(from, to)) {
        return with(|world| world.put(world.now + SYN_AGAIN, Arrival::SynAnswer(connection.clone(), taken)));
    }
    let mut dialling = connection.dialling();
    if dialling.given_up {
        drop(dialling);
        if taken {
            connection.send_reset(Side::Acceptor);
        }
        return;
    }
    dialling.answer = Some(taken);
    if let Some(waker) = dialling.waits.take() {
        drop(dialling);
        waker.wake();
    }
}

/// What this side sent may have come through.
pub(super) fn arrived(connection: &Arc<Connection>, side: Side) {
    let (from, to) = (connection.machine(side), connection.machine(side.other()));
    let mut direction = connection.from(side);
    let now = with(|world| world.now);
    if direction.held_until > now || direction.under_way.front().is_none_or(|(due, _)| *due > now) {
        return;
    }
    if !with(|world| world.segment_passes(from, to)) {
        let stuck = *direction.stuck.get_or_insert(now);
        if now - stuck > LOST {
            drop(direction);
            return reset(connection, side);
        }
        direction.again = (direction.again * 2).clamp(FIRST_AGAIN, LAST_AGAIN);
        direction.held_until = now + direction.again;
        return with(|world| world.put(direction.held_until, Arrival::Segments(connection.clone(), side)));
    }
    (direction.again, direction.stuck) = (0, None);
    while let Some((due, _)) = direction.under_way.front()
        && *due <= now
    {
        match direction.under_way.pop_front() {
            Some((_, Segment::Bytes(bytes))) => {
                with(|world| world.note((connection.ends, &bytes)));
                direction.bytes_under_way -= bytes.len();
                if direction.unread {
                    drop(direction);
                    return connection.send_reset(side);
                }
                direction.inbox.extend(bytes);
            }
            Some((_, Segment::End)) => {
                with(|world| world.note((connection.ends, "end")));
                direction.ended = true;
            }
            None => {}
        }
    }
    let reader = direction.reader.take();
    drop(direction);
    wake([reader]);
}

/// This side hears that the connection is none any more.
pub(super) fn reset(connection: &Arc<Connection>, side: Side) {
    let mut sends = connection.from(side);
    sends.reset[WRITER] = true;
    sends.under_way.clear();
    sends.bytes_under_way = 0;
    let writer = sends.writer.take();
    drop(sends);
    let mut reads = connection.from(side.other());
    reads.reset[READER] = true;
    reads.inbox.clear();
    let reader = reads.reader.take();
    drop(reads);
    wake([writer, reader]);
}

/// A connection that waited to be accepted is not going to be.
pub(super) fn abandoned(connection: &Arc<Connection>) {
    connection.from(Side::Dialler).unread = true;
    connection.from(Side::Acceptor).closed = true;
    let powered = try_with(|world| world.machines[connection.machine(Side::Acceptor)].powered);
    if powered == Some(true) {
        connection.send_reset(Side::Dialler);
    }
}

fn wake(wakers: impl IntoIterator<Item = Option<Waker>>) {
    wakers.into_iter().flatten().for_each(Waker::wake);
}
