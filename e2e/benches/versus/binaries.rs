//! Makes sure that what is measured is what is shipped: static release binaries.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::options::{Options, Who};

/// What releases are built for.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The C library goes into the binary, so that it runs in an empty image.
const RUSTFLAGS: &str = "-C target-feature=+crt-static";
/// Where the harness looks for programs.
const BIN_DIR: &str = "MUSTER_BIN_DIR";

/// Whether this process may go on.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// It may.
    Here,
    /// Another one that knows where the binaries are did the work, with this exit status.
    Elsewhere(i32),
}

/// Builds the binaries unless `MUSTER_BIN_DIR` says where they are. A process cannot safely change its own environment, so
/// the benchmark then starts itself again with that variable, and with its data beside the build, which is on a disk.
pub(crate) fn prepare(options: &Options) -> io::Result<Prepared> {
    if env::var_os(BIN_DIR).is_some() || !options.systems.contains(&Who::Muster) {
        return Ok(Prepared::Here);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or_else(|| io::Error::other("no workspace"))?;
    println!("building the static binaries (or set {BIN_DIR})");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--release", "--locked", "--bins", "--target", TARGET])
        .args(["-p", "muster-node", "-p", "muster-registry", "-p", "muster-client"])
        .env("RUSTFLAGS", RUSTFLAGS)
        .status()?;
    if !built.success() {
        return Err(io::Error::other("the static binaries cannot be built; see above"));
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let again = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(BIN_DIR, target.join(TARGET).join("release"))
        .env("TMPDIR", env!("CARGO_TARGET_TMPDIR"))
        .status()?;
    Ok(Prepared::Elsewhere(again.code().unwrap_or(1)))
}
