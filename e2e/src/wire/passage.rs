//! One direction of a cable: what becomes of each frame, drawn from a seed. It knows neither sockets nor clocks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::frame::{Parts, flip};

/// 16,384 frames wait at most: more than a machine sends in the longest delay. Full, a frame is lost, as in a switch.
const WAITING: usize = 16_384;

/// What is wrong with a cable.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    /// For how long frames are held back; drawn for each. Empty: not at all.
    pub delay: Range<Duration>,
    /// Whether one that is held back for less time overtakes others; otherwise it waits for them.
    pub overtaking: bool,
    /// Bits that flip.
    pub flips: Option<Flips>,
}

/// Bits that flip, one in each frame that is hit.
#[derive(Debug, Clone, Copy)]
pub struct Flips {
    /// One frame of so many is hit, of those that can be.
    pub one_in: u32,
    /// Which bits.
    pub kind: Flip,
    /// What comes from this address or goes there is never hit.
    pub spared: Ipv4Addr,
}

/// Which bit flips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flip {
    /// Any of the packet, and its checksums are wrong then: a bad cable.
    Noticed,
    /// One of what programs say to each other, and the checksum is put right again: a bad network card or switch.
    Unnoticed,
}

/// What happened in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Frames that left.
    pub left: u64,
    /// Those of them that had been held back, and for how long together.
    pub delayed: u64,
    /// See there.
    pub delays: Duration,
    /// Frames that left behind one that had come later.
    pub overtaken: u64,
    /// Frames with a flipped bit.
    pub flipped: u64,
    /// Frames that were lost for want of room.
    pub lost: u64,
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            left: self.left + other.left,
            delayed: self.delayed + other.delayed,
            delays: self.delays + other.delays,
            overtaken: self.overtaken + other.overtaken,
            flipped: self.flipped + other.flipped,
            lost: self.lost + other.lost,
        }
    }
}

/// One direction of a cable.
#[derive(Debug)]
pub struct Passage {
    trouble: Trouble,
    chance: StdRng,
    waiting: BinaryHeap<Reverse<Held>>,
    entered: u64,
    /// When the last one that came is due.
    last_due: Duration,
    /// The highest number that left, and one more.
    last_left: u64,
    counts: Counts,
}

/// A frame that waits. The order is that in which they leave.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Duration,
    number: u64,
    since: Duration,
    frame: Vec<u8>,
}

impl Passage {
    /// Nothing in it.
    pub fn new(trouble: Trouble, seed: u64) -> Self {
        Self {
            trouble,
            chance: StdRng::seed_from_u64(seed),
            waiting: BinaryHeap::new(),
            entered: 0,
            last_due: Duration::ZERO,
            last_left: 0,
            counts: Counts::default(),
        }
    }

    /// A frame came.
    pub fn enter(&mut self, now: Duration, mut frame: Vec<u8>) {
        if self.waiting.len() >= WAITING {
            self.counts.lost += 1;
            return;
        }
        if let Some(parts) = Parts::of(&frame) {
            parts.make_whole(&mut frame);
            self.may_flip(&parts, &mut frame);
        }
        let range = self.trouble.delay.clone();
        let delay = if range.is_empty() { range.start } else { self.chance.random_range(range) };
        let due = if self.trouble.overtaking { now + delay } else { (now + delay).max(self.last_due) };
        self.last_due = due;
        self.waiting.push(Reverse(Held { due, number: self.entered, since: now, frame }));
        self.entered += 1;
    }

    fn may_flip(&mut self, parts: &Parts, frame: &mut [u8]) {
        let Some(flips) = self.trouble.flips else { return };
        let bits = match flips.kind {
            Flip::Noticed => parts.bits(),
            Flip::Unnoticed => parts.payload_bits(),
        };
        if [parts.from, parts.to].contains(&flips.spared) || bits.is_empty() {
            return;
        }
        if !self.chance.random_ratio(1, flips.one_in) {
            return;
        }
        flip(frame, self.chance.random_range(bits));
        if flips.kind == Flip::Unnoticed {
            parts.make_whole(frame);
        }
        self.counts.flipped += 1;
    }

    /// When the next one leaves.
    pub fn next_due(&self) -> Option<Duration> {
        self.waiting.peek().map(|Reverse(held)| held.due)
    }

    /// The next one that is due.
    pub fn leave(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse(held) = self.waiting.pop()?;
        self.counts.left += 1;
        if !self.trouble.delay.end.is_zero() {
            self.counts.delayed += 1;
            self.counts.delays += now.saturating_sub(held.since);
        }
        self.counts.overtaken += u64::from(held.number < self.last_left);
        self.last_left = self.last_left.max(held.number + 1);
        Some(held.frame)
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::datagram;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn text(frame: &[u8]) -> u32 {
        u32::from_be_bytes(*frame.last_chunk().unwrap())
    }

    /// A thousand datagrams, one a millisecond; what left at which millisecond.
    fn pass(trouble: &Trouble, seed: u64) -> (Vec<(u64, Vec<u8>)>, Counts) {
        let mut passage = Passage::new(trouble.clone(), seed);
        let mut left = Vec::new();
        for now in 0..2_000_u32 {
            if now < 1_000 {
                passage.enter(MS * now, datagram(1, 2, &now.to_be_bytes()));
            }
            while let Some(frame) = passage.leave(MS * now) {
                left.push((u64::from(now), frame));
            }
        }
        (left, passage.counts())
    }

    fn right(number: u32) -> Vec<u8> {
        let mut frame = datagram(1, 2, &number.to_be_bytes());
        Parts::of(&frame).unwrap().make_whole(&mut frame);
        frame
    }

    #[test]
    fn without_trouble_everything_leaves_at_once_as_it_came_but_with_a_whole_checksum() {
        let (left, counts) = pass(&Trouble::default(), 1);
        let expected: Vec<_> = (0..1_000).map(|now| (u64::from(now), right(now))).collect();
        assert_eq!(left, expected);
        assert_eq!(counts, Counts { left: 1_000, ..Counts::default() });
    }

    #[test]
    fn what_is_delayed_keeps_its_order_and_comes_neither_too_early_nor_too_late() {
        let trouble = Trouble { delay: 20 * MS..80 * MS, ..Trouble::default() };
        let (left, counts) = pass(&trouble, 2);
        assert_eq!(left.len(), 1_000);
        for (number, (at, frame)) in (0..).zip(&left) {
            assert_eq!(text(frame), number);
            assert!((20..=80).contains(&(at - u64::from(number))), "{number} at {at}");
        }
        assert_eq!((counts.delayed, counts.overtaken), (1_000, 0));
        assert!(counts.delays >= 20 * MS * 1_000, "{counts:?}");
        assert_eq!(pass(&trouble, 2).0, left, "the same seed gives the same");
        assert_ne!(pass(&trouble, 3).0, left);
    }

    #[test]
    fn what_may_overtake_does() {
        let trouble = Trouble { delay: MS..30 * MS, overtaking: true, flips: None };
        let (left, counts) = pass(&trouble, 4);
        let mut numbers: Vec<u32> = left.iter().map(|(_, frame)| text(frame)).collect();
        let mut highest = 0;
        let behind = numbers.iter().filter(|number| {
            let behind = **number < highest;
            highest = highest.max(**number);
            behind
        });
        assert_eq!(behind.count() as u64, counts.overtaken);
        assert!(counts.overtaken > 300, "{counts:?}");
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1_000).collect::<Vec<_>>(), "nothing is lost or doubled");
    }

    #[test]
    fn one_bit_flips_in_one_frame_of_so_many() {
        for kind in [Flip::Noticed, Flip::Unnoticed] {
            let flips = Flips { one_in: 10, kind, spared: Ipv4Addr::LOCALHOST };
            let (left, counts) = pass(&Trouble { flips: Some(flips), ..Trouble::default() }, 5);
            let mut hit = 0;
            for (number, (_, frame)) in (0..).zip(&left) {
                let (before, mut again) = (right(number), frame.clone());
                if let Some(parts) = Parts::of(frame) {
                    parts.make_whole(&mut again);
                }
                let different = |from: usize| -> u32 {
                    before.iter().zip(frame).skip(from).map(|(before, now)| (before ^ now).count_ones()).sum()
                };
                hit += u64::from(*frame != before);
                match kind {
                    Flip::Noticed => assert!(different(0) <= 1),
                    Flip::Unnoticed => assert!(different(42) <= 1 && again == *frame, "its checksum is right"),
                }
            }
            assert_eq!(hit, counts.flipped);
            assert!((50..200).contains(&hit), "{hit} of 1,000");
        }
    }

    #[test]
    fn who_is_spared_is_never_hit() {
        for spared in [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)] {
            let flips = Flips { one_in: 1, kind: Flip::Unnoticed, spared };
            assert_eq!(pass(&Trouble { flips: Some(flips), ..Trouble::default() }, 6).1.flipped, 0);
        }
    }

    #[test]
    fn what_finds_no_room_is_lost_and_counted() {
        let mut passage = Passage::new(Trouble { delay: MS..2 * MS, ..Trouble::default() }, 7);
        (0..WAITING + 3).for_each(|_| passage.enter(Duration::ZERO, vec![0; 60]));
        assert_eq!(passage.counts().lost, 3);
    }
}
