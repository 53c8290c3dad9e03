//! A window of the newest items by index, in bounded memory, so that followers and the state machine are fed without the disk.

use std::collections::VecDeque;

/// The window. Indices are consecutive.
#[derive(Debug)]
pub struct Recent<T> {
    first: u64,
    items: VecDeque<(T, u64)>,
    bytes: u64,
    limit: u64,
}

impl<T: Clone> Recent<T> {
    /// Holds items of at most `limit` bytes together; the oldest go first.
    pub fn new(limit: u64) -> Self {
        Self { first: 0, items: VecDeque::new(), bytes: 0, limit }
    }

    /// Adds the item at `index`, which takes `bytes`. If it is not the next one, all before are forgotten.
    pub fn push(&mut self, index: u64, item: T, bytes: u64) {
        if index != self.first + self.items.len() as u64 {
            self.clear();
            self.first = index;
        }
        self.items.push_back((item, bytes));
        self.bytes += bytes;
        while self.bytes > self.limit {
            self.pop_front();
        }
    }

    /// The items from `from` up to `to` (excluded), if all of them are here.
    pub fn range(&self, from: u64, to: u64) -> Option<Vec<T>> {
        let start = from.checked_sub(self.first)? as usize;
        let stop = to.checked_sub(self.first)? as usize;
        (start <= stop && stop <= self.items.len())
            .then(|| self.items.range(start..stop).map(|(item, _)| item.clone()).collect())
    }

    /// The sizes from `from` on, as far as they are here.
    pub fn sizes(&self, from: u64) -> impl Iterator<Item = u64> {
        let start = from.checked_sub(self.first).map_or(self.items.len(), |start| start as usize);
        self.items.range(start.min(self.items.len())..).map(|(_, bytes)| *bytes)
    }

    /// Forgets the items behind `last` (that one stays; `None`: all).
    pub fn truncate_after(&mut self, last: Option<u64>) {
        let keep = last.map_or(0, |last| last + 1);
        while !self.items.is_empty() && self.first + self.items.len() as u64 > keep {
            if let Some((_, bytes)) = self.items.pop_back() {
                self.bytes -= bytes;
            }
        }
    }

    /// Forgets the items up to `last` (that one too).
    pub fn purge(&mut self, last: u64) {
        while !self.items.is_empty() && self.first <= last {
            self.pop_front();
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn clear(&mut self) {
        self.items.clear();
        self.bytes = 0;
    }

    fn pop_front(&mut self) {
        if let Some((_, bytes)) = self.items.pop_front() {
            self.bytes -= bytes;
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Recent<u64> {
        let mut recent = Recent::new(10);
        for index in 5..20 {
            recent.push(index, index, 2);
        }
        recent
    }

    #[test]
    fn the_oldest_go_when_the_limit_is_reached() {
        let recent = filled();
        assert_eq!(recent.range(15, 20), Some(vec![15, 16, 17, 18, 19]));
        assert_eq!(recent.range(14, 20), None);
        assert_eq!(recent.range(15, 21), None);
        assert_eq!(recent.range(17, 17), Some(vec![]));
        assert_eq!(recent.sizes(18).count(), 2);
        assert_eq!(recent.bytes(), 10);
    }

    #[test]
    fn cuts_purges_and_jumps_leave_what_stands() {
        let mut recent = filled();
        recent.truncate_after(Some(17));
        assert_eq!((recent.range(15, 18), recent.range(15, 19)), (Some(vec![15, 16, 17]), None));
        recent.purge(16);
        assert_eq!((recent.range(16, 18), recent.range(17, 18)), (None, Some(vec![17])));
        recent.push(40, 40, 1);
        assert_eq!((recent.range(17, 18), recent.range(40, 41)), (None, Some(vec![40])));
        recent.truncate_after(None);
        assert_eq!((recent.range(40, 41), recent.bytes()), (None, 0));
    }
}
