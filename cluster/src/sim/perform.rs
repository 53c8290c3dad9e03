//! What becomes of a member's outputs, and how what is due reaches a member.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::Sim;
use super::host::SOCKET;
use super::network::nanos;
use super::streams::End;
use super::turns::Hold;
use super::watch::{Happening, Watch};
use crate::swim::{Event, Input, Output, Refused, Stamp};

/// Something that is to come.
#[derive(Debug)]
pub(super) enum Due {
    /// A timer of a member. Stale when it is not the planned one.
    Wake { host: usize },
    /// A datagram arrives, at whoever listens there then.
    Packet { from: usize, source: SocketAddr, to: SocketAddr, bytes: Bytes },
    /// Something for one start of one host: a frame, the end of a stream.
    Stream { to: End, with: usize, frame: Option<Bytes> },
    /// A stamp is on the disk of one start.
    Synced { host: usize, start: u64, stamp: Stamp },
    /// A host's turn changes. Stale when the plan has changed.
    Turn { host: usize, plan: u64 },
    /// A host is done with an input. Stale likewise.
    Worked { host: usize, plan: u64 },
}

impl<W: Watch> Sim<W> {
    pub(super) fn perform_due(&mut self, due: Due) {
        match due {
            Due::Wake { host } => {
                let place = &mut self.hosts[host];
                if place.wake != self.time {
                    return;
                }
                place.wake = u64::MAX;
                let mute = place.turns.is_some_and(|turns| turns.mute);
                match place.hold {
                    Hold::Stopped => place.overslept = true,
                    Hold::Busy if !mute => place.overslept = true,
                    Hold::Busy | Hold::Mute => self.hand_in(host, Input::Tick),
                    Hold::None => self.work(host, Input::Tick),
                }
            }
            Due::Packet { from, source, to, bytes } => self.arrive(from, source, to, bytes),
            Due::Stream { to, with, frame } => {
                let place = &self.hosts[to.host];
                if place.starts != to.start || !place.is_up() || !self.network.carries_stream(with, to.host) {
                    return;
                }
                let input = match frame {
                    Some(bytes) => Input::Frame { stream: to.stream, bytes },
                    None => Input::StreamClosed { stream: to.stream },
                };
                self.receive(to.host, input);
            }
            Due::Synced { host, start, stamp } => {
                let place = &mut self.hosts[host];
                if place.starts != start || !place.is_up() {
                    return;
                }
                place.disk_before = std::mem::replace(&mut place.disk, stamp);
                let id = place.id;
                self.watch.note(self.time(), &Happening::Persisted { host, id, stamp });
                self.receive(host, Input::StampPersisted { stamp });
            }
            Due::Turn { host, plan } => self.next_turn(host, plan),
            Due::Worked { host, plan } => {
                if self.hosts[host].plan == plan {
                    self.work_on(host);
                }
            }
        }
    }

    fn arrive(&mut self, from: usize, source: SocketAddr, to: SocketAddr, bytes: Bytes) {
        let Some(host) = self.listens.get(&to).copied() else { return };
        let full = self.hosts[host].hold != Hold::None && self.hosts[host].unread >= SOCKET;
        if full || !self.network.carries_datagram(from, host) {
            self.watch.note(self.time(), &Happening::Lost { host: from });
            return;
        }
        self.watch.note(self.time(), &Happening::Arrived { host });
        self.receive(host, Input::Datagram { from: source, bytes });
    }

    /// Something from outside reaches a process: at once, or when it can be read.
    fn receive(&mut self, host: usize, input: Input) {
        let place = &mut self.hosts[host];
        if place.hold == Hold::None {
            self.work(host, input);
            return;
        }
        place.unread += usize::from(matches!(input, Input::Datagram { .. }));
        place.inbox.push_back(input);
    }

    /// What comes from the network, the disk or a clock is never refused.
    pub(super) fn hand_in(&mut self, host: usize, input: Input) {
        if let Err(refused) = self.step(host, input) {
            panic!("host {host} at {:?} refused what did not come from its program: {refused}", self.time());
        }
    }

    /// Hands an input in and performs what comes of it.
    pub(super) fn step(&mut self, host: usize, input: Input) -> Result<(), Refused> {
        let now = self.now(host);
        let place = &mut self.hosts[host];
        let Some(swim) = place.swim.as_mut() else { return Ok(()) };
        self.steps += 1;
        let done = swim.handle(now, input);
        let mut outputs = std::mem::take(&mut self.outputs);
        while let Some(output) = swim.poll() {
            outputs.push(output);
        }
        if !outputs.is_empty() {
            let at = Duration::from_nanos(self.time);
            self.watch.stepped(at, host, swim, place.disk);
        }
        for output in outputs.drain(..) {
            // A process that has left ends at once; what else it had to say is not heard.
            if self.hosts[host].is_up() {
                self.perform(host, output);
            }
        }
        self.outputs = outputs;
        self.plan_wake(host);
        done
    }

    /// Plans the next wake, if it is earlier than the one planned. A later one is found out when that comes.
    pub(super) fn plan_wake(&mut self, host: usize) {
        let place = &mut self.hosts[host];
        let Some(deadline) = place.swim.as_ref().and_then(|swim| swim.next_deadline()) else { return };
        let at = place.clock.when(deadline).max(self.time);
        if at < place.wake {
            place.wake = at;
            self.queue.put(at, Due::Wake { host });
        }
    }

    pub(super) fn perform(&mut self, host: usize, output: Output) {
        if self.hosts[host].hold == Hold::Mute && !matches!(output, Output::Event(_) | Output::PersistStamp { .. }) {
            self.hosts[host].outbox.push(output);
            return;
        }
        let start = self.hosts[host].starts;
        match output {
            Output::Datagram { to, bytes } => self.send(host, to, bytes),
            Output::OpenStream { stream, to, target, frame } => {
                self.watch.note(self.time(), &Happening::Framed { host, bytes: &frame });
                self.open_stream(End { host, start, stream }, to, target, frame);
            }
            Output::ProbeStream { stream, to, target, frame } => {
                self.watch.note(self.time(), &Happening::Framed { host, bytes: &frame });
                self.open_stream(End { host, start, stream }, to, Some(target), frame);
            }
            Output::SendFrame { stream, frame, last } => {
                self.watch.note(self.time(), &Happening::Framed { host, bytes: &frame });
                let end = End { host, start, stream };
                if !self.streams.is_open(end) {
                    return;
                }
                let at = self.time + nanos(self.network.latency.draw(&mut self.rng));
                if let Some((to, at)) = self.streams.send(end, at) {
                    self.queue.put(at, Due::Stream { to, with: host, frame: Some(frame) });
                    if last {
                        self.close_stream(end, at);
                    }
                }
            }
            Output::CloseStream { stream } => {
                let end = End { host, start, stream };
                if self.streams.is_open(end) {
                    let at = self.time + nanos(self.network.latency.draw(&mut self.rng));
                    self.close_stream(end, at);
                }
            }
            Output::PersistStamp { stamp } => {
                let at = self.time + nanos(self.disk.draw(&mut self.rng));
                self.queue.put(at, Due::Synced { host, start, stamp });
            }
            Output::Event(event) => {
                self.watch.note(self.time(), &Happening::Heard { host, event: &event });
                if matches!(event, Event::LeaveDone { .. }) {
                    self.hosts[host].left = true;
                    self.end(host);
                }
            }
        }
    }

    fn send(&mut self, host: usize, to: SocketAddr, bytes: Bytes) {
        self.watch.note(self.time(), &Happening::Sent { host, to, bytes: &bytes });
        let receiver = self.listens.get(&to).copied();
        let source = self.hosts[host].address;
        let [first, second] = self.network.fate(host, receiver, &mut self.rng);
        if first.is_none() {
            self.watch.note(self.time(), &Happening::Lost { host });
        }
        if let Some(delay) = second {
            let packet = Due::Packet { from: host, source, to, bytes: bytes.clone() };
            self.queue.put(self.time + nanos(delay), packet);
        }
        if let Some(delay) = first {
            self.queue.put(self.time + nanos(delay), Due::Packet { from: host, source, to, bytes });
        }
    }

    fn open_stream(&mut self, dialler: End, to: SocketAddr, target: Option<Uuid>, frame: Bytes) {
        let Some(other) = self.listens.get(&to).copied() else {
            // Connection refused.
            self.close_later(dialler);
            return;
        };
        if !self.network.carries_stream(dialler.host, other) {
            // Into the dark: nobody answers, the core has a time-out of its own.
            self.watch.note(self.time(), &Happening::Lost { host: dialler.host });
            return;
        }
        let (theirs, ours) = (&self.hosts[dialler.host].keys, &self.hosts[other].keys);
        let fits = theirs.sealing().map_or(ours.takes_plain(), |key| ours.key(key.name()).is_some());
        if !fits || target.is_some_and(|target| target != self.hosts[other].id) {
            // Refused by the preface, or closed without a word.
            self.close_later(dialler);
            return;
        }
        let at = self.time + nanos(self.network.latency.draw(&mut self.rng));
        let acceptor = self.streams.open(dialler, other, self.hosts[other].starts);
        if let Some((to, at)) = self.streams.send(dialler, at) {
            debug_assert_eq!(to, acceptor);
            self.queue.put(at, Due::Stream { to, with: dialler.host, frame: Some(frame) });
        }
    }

    fn close_stream(&mut self, end: End, at: u64) {
        if let Some((to, at)) = self.streams.close(end, at) {
            self.queue.put(at, Due::Stream { to, with: end.host, frame: None });
        }
    }

    /// An end hears in a while that its stream is no more.
    pub(super) fn close_later(&mut self, end: End) {
        let at = self.time + nanos(self.network.latency.draw(&mut self.rng));
        // From itself, so to speak: no cut hides a refusal.
        self.queue.put(at, Due::Stream { to: end, with: end.host, frame: None });
    }
}
