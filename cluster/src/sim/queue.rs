//! What is still to come, by time, then in the order in which it was put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A queue of what is due when. The heap moves small keys only; what they stand for lies still in a table whose places are used
/// again, so that a queue that has seen its largest size allocates no more.
#[derive(Debug)]
pub struct Queue<T> {
    keys: BinaryHeap<Reverse<(u64, u64, usize)>>,
    table: Vec<Option<T>>,
    free: Vec<usize>,
    put: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { keys: BinaryHeap::new(), table: Vec::new(), free: Vec::new(), put: 0 }
    }
}

impl<T> Queue<T> {
    /// Puts in what is due at `at` nanoseconds.
    pub fn put(&mut self, at: u64, what: T) {
        self.put += 1;
        let place = match self.free.pop() {
            Some(place) => {
                self.table[place] = Some(what);
                place
            }
            None => {
                self.table.push(Some(what));
                self.table.len() - 1
            }
        };
        self.keys.push(Reverse((at, self.put, place)));
    }

    /// The first, if it is due at `end` or before, with its time.
    pub fn pop_until(&mut self, end: u64) -> Option<(u64, T)> {
        if self.keys.peek()?.0.0 > end {
            return None;
        }
        let Reverse((at, _, place)) = self.keys.pop()?;
        self.free.push(place);
        Some((at, self.table[place].take()?))
    }

    /// How much is in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing is to come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_time_then_in_the_order_of_putting() {
        let mut queue = Queue::default();
        for (at, what) in [(5, 'b'), (3, 'a'), (5, 'c'), (9, 'd')] {
            queue.put(at, what);
        }
        assert_eq!(queue.pop_until(2), None);
        let got: String = std::iter::from_fn(|| queue.pop_until(5)).map(|(_, what)| what).collect();
        assert_eq!(got, "abc");
        queue.put(9, 'e');
        assert_eq!(queue.table.len(), 4, "a place was not used again");
        assert_eq!(queue.pop_until(u64::MAX), Some((9, 'd')));
        assert_eq!(queue.pop_until(u64::MAX), Some((9, 'e')));
        assert!(queue.is_empty());
    }
}
