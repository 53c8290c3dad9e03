//! What can be done to the log keyspace, and what comes of it, as plain values: no I/O, no clock, no chance.

pub mod decision;
pub mod memory;
pub mod operation;
pub mod reading;
pub mod session;

pub use decision::{Decision, Revisions, decide};
pub use memory::Remembered;
pub use operation::{Condition, Idempotency, Operation, Outcome, Write};
pub use reading::{Freshness, Page, PageQuery, Reading, Versioned};
