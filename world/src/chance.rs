//! Chance, of the machine that asks.

use rand::distr::{Distribution, StandardUniform};
use rand::{Rng, RngExt};
use uuid::Uuid;

use crate::world::with;

/// A value of the machine's own chance.
pub fn random<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    with(|world| world.here().chance.random())
}

/// A random identity (version 4).
pub fn uuid() -> Uuid {
    let mut bytes = [0; 16];
    with(|world| world.here().chance.fill_bytes(&mut bytes));
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
