//! Processes that do not always run: stopped, cut off from their sockets, or on a machine with too much to do.

use std::time::Duration;

use super::Sim;
use super::network::{Latency, nanos};
use super::perform::Due;
use super::watch::{Happening, Watch};
use crate::swim::Input;

/// What keeps a process from working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nothing.
    None,
    /// It is stopped: no timer, no packet.
    Stopped,
    /// It runs, but no packet comes in or goes out: what Lifeguard's authors did to their members.
    Mute,
    /// It is at work on an input, and the others wait.
    Busy,
}

/// By turns it runs and does not, as on a machine with too much to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turns {
    /// For how long it runs.
    pub run: Latency,
    /// For how long it then waits.
    pub wait: Latency,
    /// Whether its timers go on while it waits: then only packets are held back, both ways.
    pub mute: bool,
    /// Processor time that an input takes, with all that follows from it; what comes in meanwhile waits, the oldest first. What is begun
    /// in a turn is done in it. With zero a turn is enough for all that waits, however short it is.
    pub work: Duration,
}

impl<W: Watch> Sim<W> {
    pub(super) fn next_turn(&mut self, host: usize, plan: u64) {
        let place = &mut self.hosts[host];
        let Some(turns) = place.turns.filter(|_| place.plan == plan && place.is_up()) else { return };
        let (hold, length) = match place.hold {
            Hold::None | Hold::Busy if turns.mute => (Hold::Mute, turns.wait),
            Hold::None | Hold::Busy => (Hold::Stopped, turns.wait),
            Hold::Stopped | Hold::Mute => (Hold::None, turns.run),
        };
        place.plan += 1;
        let plan = place.plan;
        self.hold(host, hold);
        let at = self.time + nanos(length.draw(&mut self.rng)).max(1);
        self.queue.put(at, Due::Turn { host, plan });
    }

    pub(super) fn hold(&mut self, host: usize, hold: Hold) {
        let place = &mut self.hosts[host];
        if !place.is_up() || place.hold == hold {
            return;
        }
        place.hold = hold;
        let held = hold != Hold::None;
        debug_assert_ne!(hold, Hold::Busy, "nobody is told to work");
        self.watch.note(Duration::from_nanos(self.time), &Happening::Held { host, held });
        if held {
            return;
        }
        let place = &mut self.hosts[host];
        for output in std::mem::take(&mut place.outbox) {
            self.perform(host, output);
        }
        if self.hosts[host].turns.is_some_and(|turns| !turns.work.is_zero()) {
            self.work_on(host);
            return;
        }
        let start = self.hosts[host].starts;
        let mut waiting = std::mem::take(&mut self.hosts[host].inbox);
        self.hosts[host].unread = 0;
        for input in waiting.drain(..) {
            if self.hosts[host].starts == start {
                self.hand_in(host, input);
            }
        }
        if std::mem::take(&mut self.hosts[host].overslept) {
            self.hand_in(host, Input::Tick);
        }
    }

    /// A process that is free takes an input, which may keep it busy for a while.
    pub(super) fn work(&mut self, host: usize, input: Input) {
        let place = &mut self.hosts[host];
        let work = place.turns.map_or(0, |turns| nanos(turns.work));
        if work > 0 && place.hold == Hold::None {
            place.hold = Hold::Busy;
            let plan = place.plan;
            self.queue.put(self.time + work, Due::Worked { host, plan });
        }
        self.hand_in(host, input);
    }

    /// A process that has turned to its inbox takes the oldest input. Timers that went off meanwhile go with whatever it takes first, as
    /// the core fires what is due after every input.
    pub(super) fn work_on(&mut self, host: usize) {
        let place = &mut self.hosts[host];
        place.hold = Hold::None;
        let overslept = std::mem::take(&mut place.overslept);
        if let Some(input) = place.inbox.pop_front() {
            place.unread -= usize::from(matches!(input, Input::Datagram { .. }));
            self.work(host, input);
        } else if overslept {
            self.work(host, Input::Tick);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Record;
    use crate::swim::{Config, Event};

    const MS: Duration = Duration::from_millis(1);

    /// When one that takes turns hears each of 40 messages that were sent at once.
    fn heard(work: Duration, mute: bool) -> Vec<Duration> {
        let mut sim = Sim::new(Config::lan("turns"), 7, Record::default());
        let (other, busy) = (sim.add_next(), sim.add_next());
        sim.start_acquainted();
        sim.run(100 * MS);
        sim.take_turns(busy, Some(Turns { run: Latency::Fixed(4 * MS), wait: Latency::Fixed(96 * MS), mute, work }));
        let (to, begun) = (sim.host(busy).id, sim.time());
        for number in 0..40_u8 {
            let message = Input::Message { to, payload: vec![number].into() };
            assert!(sim.ask(other, message).is_ok());
        }
        sim.run(3_000 * MS);
        let of = |(at, host, event): &(Duration, usize, Event)| {
            (*host == busy && matches!(event, Event::Message { .. })).then(|| *at - begun)
        };
        sim.watch.events.iter().filter_map(of).collect()
    }

    #[test]
    fn without_work_a_turn_is_enough_for_all_that_waits() {
        let heard = heard(Duration::ZERO, false);
        assert_eq!((heard.len(), heard[0], heard[39]), (40, 96 * MS, 96 * MS));
    }

    #[test]
    fn with_work_a_turn_is_enough_for_as_much_as_it_lasts() {
        for mute in [false, true] {
            let heard = heard(MS, mute);
            assert_eq!(heard.len(), 40, "some were lost");
            for turn in 1..=10 {
                let begin = turn * 100 * MS - 4 * MS;
                let in_turn = heard.iter().filter(|at| **at >= begin && **at < begin + 4 * MS).count();
                assert!(in_turn <= 4, "{in_turn} in turn {turn}");
            }
            assert!(heard.iter().all(|at| (at.as_millis() + 4) % 100 < 4), "heard while it waited: {heard:?}");
            // Probes and their answers took some of its time.
            assert!(heard[39] > 996 * MS, "{:?}", heard[39]);
        }
    }

    #[test]
    fn timers_go_on_where_only_packets_wait() {
        for (mute, probed) in [(true, true), (false, false)] {
            let mut sim = Sim::new(Config::lan("turns"), 7, Record::default());
            let (other, busy) = (sim.add_next(), sim.add_next());
            sim.start_acquainted();
            let wait = Latency::Fixed(60_000 * MS);
            sim.take_turns(busy, Some(Turns { run: Latency::Fixed(4 * MS), wait, mute, work: MS }));
            sim.run(30_000 * MS);
            let accused = |(_, host, event): &(Duration, usize, Event)| {
                *host == busy && matches!(event, Event::Suspected(member) if member.id == sim.host(other).id)
            };
            assert_eq!(sim.watch.events.iter().any(accused), probed);
        }
    }
}
