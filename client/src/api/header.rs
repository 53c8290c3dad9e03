//! Names of the headers that are Muster's own, in lower case as HTTP/2 wants them.

/// Id of the node that answered; on every answer of a node.
pub const NODE: &str = "muster-node";
/// Id of the leader as the answering node knows it; absent when it knows none.
pub const LEADER: &str = "muster-leader";
/// The revision that the answering node had applied when it read.
pub const REVISION: &str = "muster-revision";
/// The revision that created the key.
pub const CREATE_REVISION: &str = "muster-create-revision";
/// By how many milliseconds at most the answer may be behind, or [`UNKNOWN`].
pub const STALENESS_MS: &str = "muster-staleness-ms";
/// Makes a retried write apply once; up to [`MAX_IDEMPOTENCY_KEY`] bytes of text.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Value of [`STALENESS_MS`] when the node has no proof of how fresh it is.
pub const UNKNOWN: &str = "unknown";
/// 128: room for a UUID, a prefix and a counter; the keys are replicated and kept for ten minutes.
pub const MAX_IDEMPOTENCY_KEY: usize = 128;
