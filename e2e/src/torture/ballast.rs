//! Large values that make the log long, so that whoever was away finds that its part of it is gone.
//!
//! What is written down of a value is its name, not its half a mebibyte: nobody reads these keys but this, and all are removed at the end.

use super::client::send;
use super::operation::{Call, Condition};
use super::world::{PROBER, World};

/// Half of the longest value.
const VALUE: usize = 512 << 10;
/// What a put waits for a leader.
const PATIENCE: &str = "2s";

/// Values that were written, until they are removed.
#[derive(Debug, Default)]
pub(crate) struct Ballast {
    /// Bytes that were acknowledged.
    pub(crate) bytes: usize,
}

impl Ballast {
    /// Writes each key once through a node.
    pub(crate) async fn add(&mut self, world: &World, node: usize) {
        let done = tokio::join!(put(world, node, 0), put(world, node, 1), put(world, node, 2), put(world, node, 3));
        self.bytes += VALUE * [done.0, done.1, done.2, done.3].into_iter().filter(|done| *done).count();
    }

    /// Removes all of it.
    ///
    /// # Errors
    /// When a removal is not acknowledged.
    pub(crate) async fn remove(self, world: &World, node: usize) -> Result<(), String> {
        for n in 0..4 {
            let mut removed = false;
            for _ in 0..20 {
                let began = world.recorder.now();
                let delete = Call::Delete { key: key(n), condition: Condition::Always, again: None };
                let seen = send(&world.http, &world.addresses.of(node), &delete, PATIENCE).await;
                removed = seen.is_acked();
                world.recorder.ended(PROBER, Some(node), began, delete, seen);
                if removed {
                    break;
                }
            }
            if !removed {
                return Err("the ballast could not be removed".to_owned());
            }
        }
        Ok(())
    }
}

async fn put(world: &World, node: usize, n: u64) -> bool {
    let began = world.recorder.now();
    let value = format!("ballast-{n}-{began}");
    let put = |value| Call::Put { key: key(n), value, condition: Condition::Always, again: None };
    let body = format!("{value} {}", "x".repeat(VALUE));
    let seen = send(&world.http, &world.addresses.of(node), &put(body), PATIENCE).await;
    let done = seen.is_acked();
    // A number for each key: one client does one thing at a time.
    let client = PROBER + 1 + usize::try_from(n).unwrap_or_default();
    world.recorder.ended(client, Some(node), began, put(value), seen);
    done
}

/// Few keys, so that a copy does not grow with the log.
fn key(n: u64) -> String {
    format!("ballast/{n}")
}
