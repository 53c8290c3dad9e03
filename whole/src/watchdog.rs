//! Ends the process when a node computes for ever: virtual time stands still then, and nothing inside would notice.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A step takes microseconds, on a busy machine milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

static SEED: AtomicU64 = AtomicU64::new(0);
static STEPS: AtomicU64 = AtomicU64::new(0);

/// A run of this seed begins.
pub fn begin(seed: u64) {
    static THREAD: Once = Once::new();
    SEED.store(seed, Ordering::Relaxed);
    THREAD.call_once(|| drop(std::thread::spawn(watch)));
}

/// A step is done.
pub fn step() {
    STEPS.fetch_add(1, Ordering::Relaxed);
}

#[expect(clippy::print_stderr, reason = "the last words of the process")]
fn watch() {
    loop {
        let before = STEPS.load(Ordering::Relaxed);
        std::thread::sleep(PATIENCE);
        // Between two runs nothing steps, but that takes no minute either.
        if STEPS.load(Ordering::Relaxed) == before {
            eprintln!(
                "seed {}: a node has computed for {PATIENCE:?} without coming to rest",
                SEED.load(Ordering::Relaxed)
            );
            std::process::abort();
        }
    }
}
