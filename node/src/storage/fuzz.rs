//! The doors of what is on the disk; see `crate::fuzz`.

use std::path::Path;

pub(crate) use super::log::fuzz::*;
pub(crate) use super::snapshot::fuzz::*;
pub(crate) use super::state::fuzz::*;

/// The file `format` of a data dir.
pub(crate) fn format(dir: &Path) {
    let _: Result<_, _> = super::read_format(dir);
}
