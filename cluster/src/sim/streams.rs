//! Streams between hosts: in order, both ways, until either side closes them. A stream over a cut is silent, as a real one is until
//! somebody's time-out.

use std::collections::HashMap;

use crate::swim::StreamId;

/// One end of a stream: which start of which host, and how it calls the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) host: usize,
    pub(super) start: u64,
    pub(super) stream: StreamId,
}

#[derive(Debug)]
struct Stream {
    /// The dialler's and the acceptor's.
    ends: [End; 2],
    /// Before this nothing more arrives at each end, so that frames keep their order.
    arrives: [u64; 2],
}

/// All that are open, by the number of the acceptor.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: HashMap<u64, Stream>,
    /// By dialler: its host, start and number.
    dialled: HashMap<(usize, u64, u64), u64>,
    last: u64,
}

impl Streams {
    /// A stream from a dialler to a host; gives the acceptor's end.
    pub(super) fn open(&mut self, dialler: End, host: usize, start: u64) -> End {
        self.last += 1;
        let acceptor = End { host, start, stream: StreamId::Accepted(self.last) };
        if let StreamId::Dialled(number) = dialler.stream {
            self.dialled.insert((dialler.host, dialler.start, number), self.last);
        }
        self.open.insert(self.last, Stream { ends: [dialler, acceptor], arrives: [0, 0] });
        acceptor
    }

    fn number(&self, end: End) -> Option<u64> {
        match end.stream {
            StreamId::Accepted(number) => Some(number),
            StreamId::Dialled(number) => self.dialled.get(&(end.host, end.start, number)).copied(),
        }
    }

    /// Whether there is such a stream.
    pub(super) fn is_open(&self, end: End) -> bool {
        self.number(end).is_some_and(|number| self.open.contains_key(&number))
    }

    /// The other end, and when what is sent now arrives there if it is under way until `at`.
    pub(super) fn send(&mut self, from: End, at: u64) -> Option<(End, u64)> {
        let stream = self.open.get_mut(&self.number(from)?)?;
        let to = if stream.ends[0] == from { 1 } else { 0 };
        let at = at.max(stream.arrives[to] + 1);
        stream.arrives[to] = at;
        Some((stream.ends[to], at))
    }

    /// The stream is no more; gives the other end, if there was one, and when it hears of that.
    pub(super) fn close(&mut self, from: End, at: u64) -> Option<(End, u64)> {
        let other = self.send(from, at);
        if let Some(number) = self.number(from)
            && let Some(stream) = self.open.remove(&number)
            && let StreamId::Dialled(dialled) = stream.ends[0].stream
        {
            self.dialled.remove(&(stream.ends[0].host, stream.ends[0].start, dialled));
        }
        other
    }

    /// A process is gone: its streams go with it. The other ends, in the order in which they were opened.
    pub(super) fn end_all(&mut self, host: usize) -> Vec<End> {
        let mut numbers: Vec<u64> =
            self.open.iter().filter(|(_, s)| s.ends.iter().any(|end| end.host == host)).map(|(n, _)| *n).collect();
        numbers.sort_unstable();
        let mut others = Vec::new();
        for number in numbers {
            let Some(stream) = self.open.get(&number) else { continue };
            let [dialler, acceptor] = stream.ends;
            let (mine, other) = if dialler.host == host { (dialler, acceptor) } else { (acceptor, dialler) };
            others.push(other);
            self.close(mine, 0);
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_their_order_and_find_the_other_end() {
        let mut streams = Streams::default();
        let dialler = End { host: 0, start: 1, stream: StreamId::Dialled(7) };
        let acceptor = streams.open(dialler, 1, 1);
        assert_eq!(streams.send(dialler, 50), Some((acceptor, 50)));
        assert_eq!(streams.send(dialler, 20), Some((acceptor, 51)), "it overtook the one before");
        assert_eq!(streams.send(acceptor, 20), Some((dialler, 20)));
        assert_eq!(streams.close(acceptor, 5), Some((dialler, 21)));
        assert_eq!(streams.send(dialler, 99), None);
        assert_eq!(streams.close(dialler, 99), None);
    }

    #[test]
    fn a_process_takes_its_streams_along() {
        let mut streams = Streams::default();
        let dialler = End { host: 0, start: 1, stream: StreamId::Dialled(7) };
        streams.open(dialler, 1, 1);
        assert_eq!(streams.end_all(1), [dialler]);
        assert_eq!(streams.end_all(1), []);
        assert_eq!(streams.send(dialler, 1), None);
    }
}
