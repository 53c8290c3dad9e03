//! How many connections there may be, so that clients never take the files that the service itself needs.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises what this process may open to what it is allowed to raise it to, and says how many connections each of `workers` may have: `most`, or
/// fewer where the limit (`ulimit -n`) does not suffice for them and `own` files more.
pub(crate) fn connections_per_worker(most: usize, workers: usize, own: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let mut raised = limit;
    raised.current = limit.maximum;
    let open = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // `None` is no limit.
    let Some(open) = open.map(|open| usize::try_from(open).unwrap_or(usize::MAX)) else { return most };
    let each = share(open, workers, own);
    if each < most / 2 {
        log::warn!(
            "this process may open {open} files, so at most {} clients are served at a time and not {}; raise `ulimit -n`",
            each * workers,
            most * workers
        );
    }
    each.min(most)
}

/// Of a limit that is too small even for the service's own files, half goes to either.
fn share(open: usize, workers: usize, own: usize) -> usize {
    ((open - own.min(open / 2)) / workers.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_keeps_its_own_files_or_half_of_all() {
        assert_eq!(share(20_000, 2, 1_000), 9_500);
        assert_eq!(share(1_024, 2, 1_000), 256);
        assert_eq!(share(0, 2, 1_000), 1);
    }
}
