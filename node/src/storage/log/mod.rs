//! The segmented log.

/// The log.
#[derive(Debug)]
pub struct Log {}

impl Log {
    /// Whether new entries should be refused for want of room (507). Clears by itself. Cheap: ask before each proposal.
    pub fn is_full(&self) -> bool {
        todo!()
    }

    /// Why the log takes nothing any more (a failed fsync is never retried), if so. Only a restart helps.
    pub fn failure(&self) -> Option<String> {
        todo!()
    }

    /// Bytes of live entries: what a purge could free, for deciding when to take a snapshot.
    pub fn live_bytes(&self) -> u64 {
        todo!()
    }

    /// The highest index such that the entries behind it take at least `keep` bytes: where to purge to.
    pub fn index_keeping(&self, keep: u64) -> Option<u64> {
        let _ = keep;
        todo!()
    }
}
