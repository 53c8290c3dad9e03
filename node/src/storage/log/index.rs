//! Where the entries are: which segment, which offset. In memory, four bytes an entry. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::Position;
use super::file::LogFile;
use super::record::{ALIGN, Brand};

/// A segment in use.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<LogFile>,
    pub(super) brand: Brand,
    /// Size of the file.
    pub(super) size: u64,
    /// Where its records end.
    pub(super) end: u64,
    /// Index of the first entry in `offsets`.
    first: u64,
    /// Offsets of the entries that stand, in units of [`ALIGN`].
    offsets: VecDeque<u32>,
}

/// A run of bytes that holds entries, maybe with void records between them.
#[derive(Debug, Clone)]
pub(super) struct Extent {
    pub(super) file: Arc<LogFile>,
    pub(super) brand: Brand,
    /// Offsets of the entries, in order.
    pub(super) offsets: Vec<u64>,
    /// Where the last of them ends, or later.
    pub(super) end: u64,
    /// Index of the first.
    pub(super) first: u64,
}

/// The entries that stand and where they are.
#[derive(Debug, Default)]
pub(super) struct Index {
    segments: VecDeque<Segment>,
    /// Index from which each term runs, oldest first.
    terms: VecDeque<(u64, u64)>,
    purged: Option<Position>,
    last: Option<Position>,
}

impl Index {
    /// An empty log that was purged up to here.
    pub(super) fn new(purged: Option<Position>) -> Self {
        Self { purged, last: purged, ..Self::default() }
    }

    pub(super) fn purged(&self) -> Option<Position> {
        self.purged
    }

    /// The last entry that stands, or the last purged one.
    pub(super) fn last(&self) -> Option<Position> {
        self.last
    }

    /// Whether no entry stands.
    pub(super) fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    /// Index of the first entry that stands.
    pub(super) fn first(&self) -> Option<u64> {
        self.segments.iter().find(|segment| !segment.offsets.is_empty()).map(|segment| segment.first)
    }

    /// The newest segment.
    pub(super) fn current(&self) -> Option<&Segment> {
        self.segments.back()
    }

    /// The oldest segment's generation.
    pub(super) fn first_generation(&self) -> Option<u64> {
        self.segments.front().map(|segment| segment.brand.generation)
    }

    /// All segments, oldest first.
    pub(super) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    /// Adds a segment without entries.
    pub(super) fn add_segment(&mut self, file: Arc<LogFile>, brand: Brand, size: u64, end: u64) {
        self.segments.push_back(Segment { file, brand, size, end, first: 0, offsets: VecDeque::new() });
    }

    /// Records have been added to the newest segment up to here.
    pub(super) fn set_end(&mut self, end: u64) {
        if let Some(segment) = self.segments.back_mut() {
            segment.end = end;
        }
    }

    /// An entry may follow if it is the next one, or the first.
    pub(super) fn may_follow(last: Option<Position>, is_empty: bool, index: u64) -> bool {
        match last {
            Some(last) if is_empty => index > last.index,
            Some(last) => index == last.index + 1,
            None => true,
        }
    }

    /// Adds the next entry, which stands in the newest segment.
    pub(super) fn push(&mut self, position: Position, offset: u64) {
        let Some(segment) = self.segments.back_mut() else { return };
        if segment.offsets.is_empty() {
            segment.first = position.index;
        }
        segment.offsets.push_back((offset / ALIGN as u64) as u32);
        if self.terms.back().is_none_or(|(_, term)| *term != position.term) {
            self.terms.push_back((position.index, position.term));
        }
        self.last = Some(position);
    }

    /// Everything behind `last` is void. What was purged stays purged.
    pub(super) fn cut(&mut self, last: Option<u64>) {
        let keep = last.map_or(0, |last| last + 1).max(self.purged.map_or(0, |purged| purged.index + 1));
        for segment in self.segments.iter_mut().rev() {
            if segment.offsets.is_empty() {
                continue;
            }
            if segment.first + segment.offsets.len() as u64 <= keep {
                break;
            }
            segment.offsets.truncate(keep.saturating_sub(segment.first) as usize);
        }
        while self.terms.back().is_some_and(|(from, _)| *from >= keep) {
            self.terms.pop_back();
        }
        let standing = self.segments.iter().rev().find(|segment| !segment.offsets.is_empty());
        self.last = match standing.map(|segment| segment.first + segment.offsets.len() as u64 - 1) {
            Some(index) => self.term(index).map(|term| Position { term, index }),
            None => self.purged,
        };
    }

    /// Everything up to `purged` is void. Returns the segments that hold nothing else; the newest always stays.
    pub(super) fn purge(&mut self, purged: Position) -> Vec<Segment> {
        for segment in &mut self.segments {
            while !segment.offsets.is_empty() && segment.first <= purged.index {
                segment.offsets.pop_front();
                segment.first += 1;
            }
        }
        while self.terms.get(1).is_some_and(|(from, _)| *from <= purged.index + 1) {
            self.terms.pop_front();
        }
        if self.is_empty() {
            self.terms.clear();
            self.last = Some(purged);
        }
        self.purged = Some(purged);
        let mut free = Vec::new();
        while self.segments.len() > 1 && self.segments.front().is_some_and(|segment| segment.offsets.is_empty()) {
            free.extend(self.segments.pop_front());
        }
        free
    }

    /// The term of an entry that stands.
    pub(super) fn term(&self, index: u64) -> Option<u64> {
        let behind = self.terms.partition_point(|(from, _)| *from <= index);
        behind.checked_sub(1).map(|at| self.terms[at].1)
    }

    /// Where the entries from `from` up to `to` (excluded) are; those that do not stand are left out. At most `limit` bytes in all,
    /// but one entry at least.
    pub(super) fn locate(&self, from: u64, to: u64, limit: u64) -> Vec<Extent> {
        let mut extents = Vec::new();
        let mut left = limit;
        for segment in &self.segments {
            let past = segment.first + segment.offsets.len() as u64;
            let (start, stop) = (from.max(segment.first), to.min(past));
            if start >= stop {
                continue;
            }
            let end_of = |index: u64| match segment.offsets.get((index + 1 - segment.first) as usize) {
                Some(next) => u64::from(*next) * ALIGN as u64,
                None => segment.end,
            };
            let mut extent =
                Extent { file: segment.file.clone(), brand: segment.brand, offsets: Vec::new(), end: 0, first: start };
            for index in start..stop {
                let offset = u64::from(segment.offsets[(index - segment.first) as usize]) * ALIGN as u64;
                let size = end_of(index) - offset;
                if size > left && !(extents.is_empty() && extent.offsets.is_empty()) {
                    left = 0;
                    break;
                }
                left = left.saturating_sub(size);
                extent.offsets.push(offset);
                extent.end = offset + size;
            }
            if !extent.offsets.is_empty() {
                extents.push(extent);
            }
            if left == 0 {
                break;
            }
        }
        extents
    }

    /// Bytes of records in use, void ones included.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    /// The last index that may be purged so that the segments behind it still hold `keep` bytes.
    pub(super) fn keeping(&self, keep: u64) -> Option<u64> {
        let mut held = 0;
        let mut segments = self.segments.iter().rev();
        for segment in segments.by_ref() {
            held += segment.end;
            if held >= keep {
                break;
            }
        }
        segments
            .find(|segment| !segment.offsets.is_empty())
            .map(|segment| segment.first + segment.offsets.len() as u64 - 1)
    }
}
