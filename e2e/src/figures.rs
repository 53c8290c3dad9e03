//! Figures that a test measured, for people: on standard error, one line each, easily found in a long log.

use std::time::Duration;

/// Prints a figure: `FIGURE failover, next write: median 310 ms, worst 420 ms (n=10)`.
pub fn figure(what: &str, value: &str) {
    eprintln!("FIGURE {what}: {value}");
}

/// Median and worst of some times, in milliseconds.
///
/// # Panics
/// When there are none.
pub fn summary(times: &[Duration]) -> (Duration, Duration, String) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let (median, worst) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    let text = format!("median {} ms, worst {} ms (n={})", median.as_millis(), worst.as_millis(), sorted.len());
    (median, worst, text)
}

/// The same with every single time, in the order of the rounds: where half of them are fast and half slow, a median tells little.
///
/// # Panics
/// When there are none.
pub fn distribution(times: &[Duration]) -> (Duration, Duration, String) {
    let (median, worst, text) = summary(times);
    let each: Vec<_> = times.iter().map(Duration::as_millis).collect();
    (median, worst, format!("{text} {each:?}"))
}

/// How often a round is repeated: `MUSTER_E2E_ROUNDS`, or a few.
pub fn rounds(default: usize) -> usize {
    let told = std::env::var("MUSTER_E2E_ROUNDS").ok().and_then(|text| text.parse().ok());
    told.unwrap_or(default).max(1)
}

/// What a test asserts of a time that the product promises: the promise itself when `MUSTER_E2E_STRICT` is set (release binaries
/// on an idle machine), else `slack` times that, since a debug build on a shared machine only shows whether it is of the kind.
pub fn bound(promise: Duration, slack: u32) -> Duration {
    if std::env::var_os("MUSTER_E2E_STRICT").is_some() { promise } else { promise * slack }
}
