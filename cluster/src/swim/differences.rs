//! Anti-entropy: views that should be alike are compared by their digests, and only what differs goes over a stream.
//!
//! ```text
//!   dialler                                          acceptor
//!     a digest came with a probe or its answer, and differs for longer than news take to spread
//!     ---Buckets: a sum for each bucket of ids------------>
//!     <--Hashes: for each bucket that differs, its rows'---    or Sync without any: nothing differs
//!     ---Want: ids, and the statements that it lacks------>
//!     <--Sync, the statements that were wanted-------------    from before it merged the dialler's
//! ```
//!
//! In sync this costs the eleven bytes of a digest in a probe and nothing else. A frame carries [`SHARE`] bytes at most; what is left
//! over has its turn the next time. The acceptor keeps nothing between two frames.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::Swim;
use super::digest::{BUCKETS, LEAST_BUCKETS, bucket_of, buckets_for};
use super::dissemination::retransmit_limit;
use super::exchange::SHARE;
use super::io::{Output, StreamId};
use super::wire::{DIGEST_SINCE, Message, VERSIONS, head};
use crate::time::{Mono, Now};

/// Rows whose hashes are told in one frame, and ids that are wanted in one message: as many as are found and compared in some tenths of
/// a millisecond, and more than the statements that fit into a frame.
pub(super) const MOST_IN_A_MESSAGE: usize = 2_048;

/// How the views of others compare to ours.
#[derive(Debug, Default)]
pub(super) struct Compare {
    /// When a digest first differed since ours last changed.
    unequal_since: Option<Mono>,
    /// When one first differed, however much changed meanwhile.
    first_unequal: Option<Mono>,
    /// When one was last like ours.
    equal_at: Option<Mono>,
    /// No exchange for a difference before this.
    next: Mono,
}

impl Compare {
    /// Our view changed: others may be about to hear of it, or are ahead of us by less than before.
    pub(super) const fn changed(&mut self) {
        self.unequal_since = None;
    }

    /// Whether it is time to look for what differs: it does for `settled`, or, while things keep changing, for `patience`.
    fn differs(&mut self, now: Mono, settled: Duration, patience: Duration) -> bool {
        let since = *self.unequal_since.get_or_insert(now);
        let first = *self.first_unequal.get_or_insert(now);
        now >= self.next && (now.saturating_since(since) >= settled || now.saturating_since(first) >= patience)
    }

    /// One is like ours. A difference that was seen just before may still be one with another.
    fn equals(&mut self, now: Mono, settled: Duration) {
        self.equal_at = Some(now);
        if self.unequal_since.is_none_or(|since| now.saturating_since(since) > settled) {
            (self.unequal_since, self.first_unequal) = (None, None);
        }
    }

    const fn looked(&mut self, next: Mono) {
        (self.unequal_since, self.first_unequal, self.next) = (None, None, next);
    }
}

impl Swim {
    /// The digest to send along with a probe, if its receiver knows what it is.
    pub(super) fn digest_for(&self, version: u8) -> Option<Message> {
        (version >= DIGEST_SINCE && self.own.announced).then(|| Message::Digest { sum: self.set.sums().all() })
    }

    /// As long as news take to reach everybody: twice the rounds in which one is passed on, and two periods for a defence.
    fn settling(&self) -> Duration {
        let rounds = 2 * retransmit_limit(1, self.live());
        self.config.gossip_interval.saturating_mul(rounds) + self.config.probe_interval.saturating_mul(2)
    }

    pub(super) fn handle_digest(&mut self, now: Now, sender: Uuid, sum: u64) {
        let settled = self.settling();
        if sum == self.set.sums().all() {
            return self.compare.equals(now.mono, settled);
        }
        if !self.own.announced || self.leaving.has_begun() {
            return;
        }
        if self.compare.differs(now.mono, settled, self.config.exchange_interval)
            && let Some((_, address)) = self.life_of(sender)
        {
            self.look_for_differences(now, sender, address);
        }
    }

    /// Whether a member's view is compared by digests, and some was like ours within the interval of exchanges.
    pub(super) fn in_step(&self, now: Mono) -> bool {
        self.compare.equal_at.is_some_and(|at| now.saturating_since(at) <= self.config.exchange_interval)
    }

    /// Whether it knows digests.
    pub(super) fn compares(&self, id: Uuid) -> bool {
        let life = self.set.get(&id).and_then(|row| row.life.as_ref());
        life.is_some_and(|life| VERSIONS.common(life.versions).is_some_and(|version| version >= DIGEST_SINCE))
    }

    pub(super) fn look_for_differences(&mut self, now: Now, id: Uuid, address: SocketAddr) {
        let pause = self.settling();
        let pause = self.jittered(pause);
        self.compare.looked(now.mono + pause);
        let sums = self.set.sums().folded(buckets_for(self.set.len()));
        let frame = self.frame([Message::Buckets { sums }]);
        self.dial_with(now, address, Some(id), frame);
    }

    fn frame(&self, messages: impl IntoIterator<Item = Message>) -> Bytes {
        let mut out = head(DIGEST_SINCE, self.cluster, self.identity.id);
        messages.into_iter().for_each(|message| message.encode_into(&mut out));
        out.into()
    }

    /// The acceptor's first answer.
    pub(super) fn answer_buckets(&mut self, stream: StreamId, theirs: &[u64]) {
        let count = theirs.len();
        if !count.is_power_of_two() || !(LEAST_BUCKETS..=BUCKETS).contains(&count) {
            self.stats.malformed += 1;
            self.outputs.push_back(Output::CloseStream { stream });
            return;
        }
        let ours = self.set.sums().folded(count);
        // About as many of those that differ as there is room for: what is not told costs nothing.
        let most = (MOST_IN_A_MESSAGE * count / self.set.len().max(1)).max(1);
        let differing = ours.iter().zip(theirs).enumerate().filter(|(_, (ours, theirs))| ours != theirs);
        let mut rows: Vec<Option<Vec<(Uuid, u64)>>> = vec![None; count];
        differing.take(most).for_each(|(bucket, _)| rows[bucket] = Some(Vec::new()));
        if rows.iter().all(Option::is_none) {
            let frame = self.frame([Message::Sync { answer_wanted: false }]);
            return self.send_frame(stream, frame, true);
        }
        for (id, row) in self.set.iter() {
            if let Some(Some(rows)) = rows.get_mut(bucket_of(id, count)) {
                let weight = self.set.weight(id, row);
                if weight != 0 && rows.len() < MOST_IN_A_MESSAGE {
                    rows.push((id, weight));
                }
            }
        }
        let mut room = MOST_IN_A_MESSAGE;
        let buckets = (0..).zip(rows).filter_map(|(bucket, rows)| Some((bucket, rows?)));
        let messages = buckets.map_while(|(bucket, rows)| {
            room = room.checked_sub(rows.len())?;
            Some(Message::Hashes { buckets: count as u16, bucket, rows })
        });
        let frame = self.frame(messages.collect::<Vec<_>>());
        self.send_frame(stream, frame, false);
    }

    /// The dialler's second word.
    pub(super) fn answer_hashes(&mut self, now: Now, number: u64, messages: &[Message]) {
        // All come in one count of buckets.
        let Some(Message::Hashes { buckets, .. }) = messages.first() else { return };
        let count = usize::from(*buckets);
        let (mut covered, mut told) = (vec![false; count], Vec::new());
        for message in messages {
            if let Message::Hashes { bucket, rows, .. } = message
                && let Some(covered) = covered.get_mut(usize::from(*bucket))
            {
                *covered = true;
                told.extend_from_slice(rows);
            }
        }
        told.sort_unstable();
        let mut told = told.into_iter().peekable();
        let (mut want, mut lacking) = (Vec::new(), Vec::new());
        // Both are in order of the ids.
        for (id, row) in self.set.iter().filter(|(id, _)| covered.get(bucket_of(*id, count)) == Some(&true)) {
            // What they know and we do not.
            want.extend(std::iter::from_fn(|| told.next_if(|(other, _)| *other < id)).map(|(other, _)| other));
            match told.next_if(|(other, _)| *other == id) {
                Some((_, theirs)) if theirs == self.set.weight(id, row) => {}
                Some(_) => {
                    want.push(id);
                    lacking.push(id);
                }
                None => lacking.push(id),
            }
        }
        want.extend(told.map(|(other, _)| other));
        want.truncate(MOST_IN_A_MESSAGE);
        let frame = self.statements_of(now, Message::Want { ids: want }, &lacking);
        self.send_frame(StreamId::Dialled(number), frame, false);
    }

    /// A frame that begins with `first` and says what we know of these, as far as it fits.
    pub(super) fn statements_of(&self, now: Now, first: Message, ids: &[Uuid]) -> Bytes {
        let mut out = head(DIGEST_SINCE, self.cluster, self.identity.id);
        first.encode_into(&mut out);
        for id in ids {
            if out.len() > SHARE {
                break;
            }
            let Some(row) = self.set.get(id) else { continue };
            for statement in self.statements(now.mono, *id, row) {
                Message::Statement(statement).encode_into(&mut out);
            }
        }
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swim::exchange::tests::{self as pages, identity};
    use crate::swim::{Config, Identity, Input, Snapshot, Stamp};

    const ROWS: u64 = 10_000;

    fn now(secs: u64) -> Now {
        pages::now(secs * 1_000)
    }

    fn seeded(number: u64, identities: &[Identity]) -> Swim {
        let all = Snapshot::of(identities);
        // Only what a test begins.
        let config = Config { exchange_interval: Duration::from_secs(3_600), ..Config::lan("c") };
        Swim::seeded(config, identity(number), number, now(0), &all).expect("sound")
    }

    /// Performs the frames of one exchange that `a` began; the bytes that went to and fro, and the longest frame.
    fn converse(a: &mut Swim, b: &mut Swim, at: Now) -> (usize, usize) {
        let (mut bytes, mut longest, mut begun) = (0, 0, 0);
        let mut later = at;
        loop {
            let mut quiet = true;
            // What came is merged by and by.
            later.mono = later.mono + Duration::from_millis(1);
            for swim in [&mut *a, &mut *b] {
                if !swim.reading.is_empty() {
                    quiet = false;
                    swim.handle(later, Input::Tick).expect("never refused");
                }
            }
            for from_a in [true, false] {
                let (from, to) = if from_a { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
                while let Some(output) = from.poll() {
                    let (stream, frame) = match output {
                        Output::OpenStream { stream, frame, .. } => {
                            begun += 1;
                            (stream, frame)
                        }
                        Output::SendFrame { stream, frame, .. } => (stream, frame),
                        _ => continue,
                    };
                    quiet = false;
                    bytes += frame.len();
                    longest = longest.max(frame.len());
                    let stream = match stream {
                        StreamId::Dialled(number) => StreamId::Accepted(number),
                        StreamId::Accepted(number) => StreamId::Dialled(number),
                    };
                    to.handle(later, Input::Frame { stream, bytes: frame }).expect("never refused");
                }
            }
            if quiet {
                assert_eq!(begun, 1, "one exchange");
                a.check_invariants().expect("sound");
                b.check_invariants().expect("sound");
                return (bytes, longest);
            }
        }
    }

    #[test]
    fn of_ten_thousand_rows_only_the_three_that_differ_are_sent() {
        let all: Vec<Identity> = (1..=ROWS).map(identity).collect();
        let mut news = all.clone();
        // The one knows a member and a newer life that the other does not, and the other knows one that the first does not.
        news.remove(4_999);
        news[6_000].last_stamp = Stamp::at(now(9).wall);
        news.push(identity(ROWS + 1));
        let (mut a, mut b) = (seeded(1, &all), seeded(2, &news));
        assert_ne!(a.set.sums(), b.set.sums());
        let (id, address) = (identity(2).id, identity(2).address);
        a.look_for_differences(now(10), id, address);
        let (bytes, _) = converse(&mut a, &mut b, now(10));
        assert_eq!(a.set.sums(), b.set.sums());
        assert_eq!(a.state(), b.state());
        assert!(bytes < 12 << 10, "{bytes} bytes");
        // And in step: one question, one word.
        a.look_for_differences(now(20), id, address);
        let (bytes, _) = converse(&mut a, &mut b, now(20));
        assert!(bytes < 9 << 10, "{bytes} bytes");
    }

    #[test]
    fn much_that_differs_goes_in_bounded_frames_until_nothing_does() {
        let all: Vec<Identity> = (1..=ROWS).map(identity).collect();
        let (mut a, mut b) = (seeded(1, &all[..6_000]), seeded(2, &all[..2]));
        let (mut whole, mut rounds) = (0, 0);
        while a.set.sums() != b.set.sums() {
            rounds += 1;
            let at = now(10 * rounds);
            a.look_for_differences(at, identity(2).id, identity(2).address);
            let (bytes, longest) = converse(&mut a, &mut b, at);
            assert!(longest < SHARE + (40 << 10), "a frame of {longest} bytes");
            whole += bytes;
            assert!(rounds < 20, "it does not come to an end");
        }
        assert!(whole < 6_000 * 200, "{whole} bytes");
    }

    #[test]
    fn a_difference_is_looked_into_when_it_stays_and_once() {
        let all: Vec<Identity> = (1..=20).map(identity).collect();
        let mut swim = seeded(1, &all);
        swim.config.exchange_interval = Duration::from_secs(30);
        let dialled = |swim: &mut Swim| {
            let outputs = std::iter::from_fn(|| swim.poll());
            outputs.filter(|output| matches!(output, Output::OpenStream { .. })).count()
        };
        let (peer, ours) = (identity(2).id, swim.set.sums().all());
        let settled = swim.settling().as_secs() + 1;
        swim.handle_digest(now(1), peer, ours ^ 1);
        swim.handle_digest(now(2), peer, ours ^ 1);
        assert_eq!(dialled(&mut swim), 0, "it may be news on their way");
        swim.compare.changed();
        swim.handle_digest(now(1 + settled), peer, ours ^ 1);
        assert_eq!(dialled(&mut swim), 0, "our view has just changed");
        swim.handle_digest(now(1 + 2 * settled), peer, ours ^ 1);
        swim.handle_digest(now(1 + 2 * settled), identity(3).id, ours ^ 1);
        assert_eq!(dialled(&mut swim), 1, "not one with everybody");
        for secs in 0..100 {
            swim.handle_digest(now(20 * settled + secs), peer, ours);
        }
        assert_eq!(dialled(&mut swim), 0, "in step nothing is done");
        assert!(swim.in_step(now(20 * settled + 110).mono));
        // While everything keeps changing, it is looked into all the same in the end.
        for secs in 0..40 {
            swim.compare.changed();
            swim.handle_digest(now(40 * settled + secs), identity(4).id, ours ^ 1);
        }
        assert_eq!(dialled(&mut swim), 1);
    }
}
