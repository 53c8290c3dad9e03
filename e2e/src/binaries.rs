//! Where the programs under test are. Nothing is built here: a test that builds hides which binary it ran.

use std::env;
use std::path::{Path, PathBuf};

/// Path of a program (`muster`, `muster-node`, `muster-registry`): in `MUSTER_BIN_DIR` if that is set, else beside the
/// running test's own target directory (`target/debug` for a debug test, `target/release` for a release one).
///
/// # Panics
/// When it is not there, with the command that builds it.
pub fn program(name: &str) -> PathBuf {
    let (dir, told) = match env::var_os("MUSTER_BIN_DIR") {
        Some(dir) => (PathBuf::from(dir), true),
        None => (profile_dir(), false),
    };
    let path = dir.join(name);
    if path.is_file() {
        return path;
    }
    let release = if is_release(&dir) { " --release" } else { "" };
    let told = if told { " (MUSTER_BIN_DIR)" } else { "" };
    panic!("there is no {name} in {}{told}; build it with `cargo build{release} --workspace --bins`", dir.display());
}

/// Path of a program of the release before: in `MUSTER_OLD_BIN_DIR`, if that is set.
///
/// # Panics
/// When it is set and the program is not there.
pub fn old_program(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os("MUSTER_OLD_BIN_DIR")?).join(name);
    assert!(path.is_file(), "there is no {name} in MUSTER_OLD_BIN_DIR ({})", path.display());
    Some(path)
}

/// Whether the programs under test are release builds: only those are worth measuring.
pub fn are_release() -> bool {
    is_release(program("muster-node").parent().expect("a file has a folder"))
}

fn is_release(dir: &Path) -> bool {
    // A folder of somebody's choosing (static binaries, an installed package) holds what is shipped.
    !dir.ends_with("debug")
}

/// `target/<profile>`: the test runs as `target/<profile>/deps/<test>-<hash>`.
fn profile_dir() -> PathBuf {
    let test = env::current_exe().expect("the path of the running test");
    let dir = test.parent().expect("a file has a folder");
    if dir.ends_with("deps") { dir.parent().expect("deps has a parent").to_owned() } else { dir.to_owned() }
}
