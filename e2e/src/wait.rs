//! Waiting for conditions, never for time.

use std::time::{Duration, Instant};

/// 5 ms between two looks: below what any figure here is about, above what would load the machine.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until `look` gives something, and returns it.
///
/// # Panics
/// When `within` is over, naming what was waited for.
pub async fn eventually<T>(what: &str, within: Duration, look: impl AsyncFnMut() -> Option<T>) -> T {
    match until(within, look).await {
        Some(found) => found,
        None => panic!("waited {within:?} in vain for: {what}"),
    }
}

/// Looks until `look` gives something; `None` when `within` is over first.
pub async fn until<T>(within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
