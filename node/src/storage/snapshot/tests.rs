//! Snapshots sent and received.
