//! Who keeps a connection for nothing: looked at once a second, for all connections of a worker together.
//!
//! actix bounds how long the head of a connection's *first* request may take, and how long it idles. It does not bound the head of a
//! later request, a client that never reads its answer, or a body without an end that is read only to be thrown away. What bounds
//! those stands here: whatever a connection does, it has to get on within a time, or it is closed.
//!
//! ```text
//!          something read               a write blocks
//! Resting ---------------> Asking     ----------------> Stuck
//!    ^------------------------+------------------------------+
//!                        something written
//! ```
//!
//! A full worker closes those that have rested longest, so that silent connections never keep others out.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::Limits;

/// How often it is looked. Limits hold give or take so much.
const TICK: Duration = Duration::from_secs(1);

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A request, or the first byte of one.
    Resting,
    /// Something was read since anything was last written: the rest of a request, or its answer.
    Asking,
    /// The client, to take what is written.
    Stuck,
}

/// One connection, as far as it is watched. Whoever reads and writes notes it here, without a look at a clock.
#[derive(Debug)]
pub(crate) struct Post {
    phase: Cell<Phase>,
    /// Looks since the phase began or something was written.
    ticks: Cell<u32>,
    /// Bytes read since anything was last written.
    unanswered: Cell<u64>,
    most_unanswered: u64,
    given_up: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Post {
    /// So many bytes were read.
    pub(crate) fn read(&self, bytes: usize) {
        self.unanswered.set(self.unanswered.get() + bytes as u64);
        if self.phase.get() == Phase::Resting && bytes > 0 {
            self.enter(Phase::Asking);
        }
    }

    /// Something was written.
    pub(crate) fn wrote(&self) {
        self.unanswered.set(0);
        self.enter(Phase::Resting);
    }

    /// A write found no room.
    pub(crate) fn blocked(&self) {
        if self.phase.get() != Phase::Stuck {
            self.enter(Phase::Stuck);
        }
    }

    /// Whether it is to be closed.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.get() || self.unanswered.get() > self.most_unanswered
    }

    /// Whether the client owes us that it reads.
    pub(crate) fn is_stuck(&self) -> bool {
        self.phase.get() == Phase::Stuck
    }

    /// Who is to be woken when it is given up.
    pub(crate) fn waits(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.ticks.set(0);
    }

    fn give_up(&self) {
        self.given_up.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// All connections of one worker.
#[derive(Debug)]
pub(crate) struct Watch {
    posts: RefCell<BTreeMap<u64, Rc<Post>>>,
    next: Cell<u64>,
    /// Ticks that a phase may last.
    resting: u32,
    asking: u32,
    stuck: u32,
    most_unanswered: u64,
    /// So many connections at most, or room is made.
    room: usize,
}

impl Watch {
    pub(crate) fn new(limits: &Limits) -> Self {
        let ticks = |limit: Duration| u32::try_from(limit.as_secs().max(1)).unwrap_or(u32::MAX);
        Self {
            posts: RefCell::default(),
            next: Cell::new(0),
            // Only for what actix forgets, so a little later than it.
            resting: ticks(limits.keep_alive.max(limits.head) + limits.linger + TICK),
            asking: ticks(limits.answer),
            stuck: ticks(limits.stall),
            most_unanswered: limits.unanswered,
            // Above it, actix accepts no more until somebody goes: an eighth is left for those who come meanwhile.
            room: limits.connections_per_worker - limits.connections_per_worker / 8,
        }
    }

    /// Watches a connection until what is returned is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> Watched {
        if self.posts.borrow().len() >= self.room {
            self.make_room();
        }
        let number = self.next.get();
        self.next.set(number + 1);
        let post = Rc::new(Post {
            phase: Cell::new(Phase::Resting),
            ticks: Cell::new(0),
            unanswered: Cell::new(0),
            most_unanswered: self.most_unanswered,
            given_up: Cell::new(false),
            waker: RefCell::new(None),
        });
        self.posts.borrow_mut().insert(number, Rc::clone(&post));
        Watched { watch: Rc::clone(self), number, post }
    }

    /// Looks for as long as it is polled.
    pub(crate) async fn run(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
        }
    }

    fn look(&self) {
        for post in self.posts.borrow().values() {
            let ticks = post.ticks.get().saturating_add(1);
            post.ticks.set(ticks);
            let limit = match post.phase.get() {
                Phase::Resting => self.resting,
                Phase::Asking => self.asking,
                Phase::Stuck => self.stuck,
            };
            // The first tick may come at once.
            if ticks > limit {
                post.give_up();
            }
        }
    }

    /// Closes a sixteenth of all, those first that have rested longest: often enough to find it seldom.
    fn make_room(&self) {
        let posts = self.posts.borrow();
        let mut resting: Vec<&Rc<Post>> =
            posts.values().filter(|post| post.phase.get() == Phase::Resting && !post.given_up.get()).collect();
        resting.sort_by_key(|post| std::cmp::Reverse(post.ticks.get()));
        let gone = resting.len().min(self.room / 16 + 1);
        for post in resting.into_iter().take(gone) {
            post.give_up();
        }
    }
}

/// A connection that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    watch: Rc<Watch>,
    number: u64,
    pub(crate) post: Rc<Post>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.posts.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(connections: usize) -> Rc<Watch> {
        Rc::new(Watch::new(&Limits {
            workers: None,
            connections_per_worker: connections,
            own_files: 10,
            head: Duration::from_secs(1),
            keep_alive: Duration::from_secs(3),
            answer: Duration::from_secs(2),
            unanswered: 100,
            stall: Duration::from_secs(1),
            linger: Duration::from_secs(1),
            shutdown_seconds: 1,
        }))
    }

    fn looks_until_given_up(watch: &Watch, watched: &Watched) -> u32 {
        (1..100)
            .find(|_| {
                watch.look();
                watched.post.is_given_up()
            })
            .unwrap()
    }

    #[test]
    fn each_phase_has_its_limit_and_what_is_written_begins_anew() {
        let watch = watch(100);
        assert_eq!(looks_until_given_up(&watch, &watch.enter()), 6, "resting");
        let asking = watch.enter();
        asking.post.read(1);
        watch.look();
        asking.post.read(1);
        assert_eq!(looks_until_given_up(&watch, &asking), 2, "a drip more is no answer");
        let stuck = watch.enter();
        stuck.post.blocked();
        watch.look();
        stuck.post.wrote();
        stuck.post.blocked();
        assert_eq!(looks_until_given_up(&watch, &stuck), 2);
        drop((asking, stuck));
        assert!(watch.posts.borrow().is_empty());
    }

    #[test]
    fn more_than_a_request_may_have_is_too_much_until_an_answer() {
        let watch = watch(100);
        let watched = watch.enter();
        watched.post.read(100);
        watched.post.wrote();
        watched.post.read(100);
        assert!(!watched.post.is_given_up());
        watched.post.read(1);
        assert!(watched.post.is_given_up());
    }

    #[test]
    fn a_full_worker_closes_those_that_rested_longest_and_none_that_work() {
        let watch = watch(8);
        let working = watch.enter();
        working.post.read(1);
        let old: Vec<Watched> = (0..3).map(|_| watch.enter()).collect();
        watch.look();
        let fresh: Vec<Watched> = (0..3).map(|_| watch.enter()).collect();
        let _ = watch.enter();
        assert_eq!(old.iter().filter(|watched| watched.post.is_given_up()).count(), 1);
        assert!(fresh.iter().chain([&working]).all(|watched| !watched.post.is_given_up()));
    }
}
