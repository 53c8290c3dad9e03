//! Tests that this machine does not let run: root, network namespaces, `/dev/fuse`, a program or a library may be missing. They say so and
//! pass, so that whoever works on something else is not held up; and nobody notices when that is half of them. With `MUSTER_E2E_MUST_RUN` set
//! each of them fails instead.

use std::env;
use std::fmt::Display;

/// Set: what is missing is a failure. For machines that are to have everything.
const MUST_RUN: &str = "MUSTER_E2E_MUST_RUN";

/// Skips the test at hand, which is to return then.
///
/// # Panics
/// When every test has to be run here.
pub fn skip(why: impl Display) {
    told(why, env::var_os(MUST_RUN).is_some());
}

/// What a test needs; `None`: it is not to be had, and the test is skipped.
///
/// # Panics
/// When every test has to be run here.
pub fn needs<T>(what: &str, had: Result<T, impl Display>) -> Option<T> {
    had.map_err(|why| skip(format_args!("needs {what}: {why}"))).ok()
}

/// Leaves out a test that somebody has to ask for: by the kind of build, or with something of his own. That is no failing of the machine's.
pub fn not_asked_for(why: impl Display) {
    told(why, false);
}

fn told(why: impl Display, must_run: bool) {
    assert!(!must_run, "{why}, and {MUST_RUN} is set: every test has to be run here");
    eprintln!("SKIPPED: {why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_handed_on_and_what_is_missing_is_told() {
        assert_eq!(needs("nothing", Ok::<_, String>(7)), Some(7));
        told("a test of skipping", false);
    }

    #[test]
    #[should_panic(expected = "a test of skipping, and MUSTER_E2E_MUST_RUN is set")]
    fn where_all_must_run_what_is_missing_is_a_failure() {
        told("a test of skipping", true);
    }
}
