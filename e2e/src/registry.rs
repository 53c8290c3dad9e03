//! A `muster-registry`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::binaries;
use crate::process::Process;

/// A registry and its data directory.
#[derive(Debug)]
pub struct RegistryServer {
    /// The process, for signals and its log.
    pub process: Process,
    dir: PathBuf,
    at: Option<SocketAddr>,
}

impl RegistryServer {
    /// Not started yet. `at` may have the port 0.
    pub fn new(dir: &Path, at: SocketAddr, more: &[&str]) -> Self {
        let mut args = vec!["--http".to_owned(), at.to_string()];
        args.extend(["--data-dir".to_owned(), dir.display().to_string()]);
        args.extend(more.iter().map(ToString::to_string));
        let process = Process::new("registry", binaries::program("muster-registry"), args);
        Self { process, dir: dir.to_owned(), at: (at.port() != 0).then_some(at) }
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&mut self) {
        self.process.spawn();
        self.at = Some(self.process.ready().await.http);
    }

    /// Its address, `http://host:port`; known before the start if the port was given.
    ///
    /// # Panics
    /// When it is to pick its own port and was never started.
    pub fn url(&self) -> String {
        format!("http://{}", self.at.expect("the registry was started or has a port"))
    }

    /// Removes its data directory: a registry that has lost its memory.
    ///
    /// # Panics
    /// When it runs.
    pub fn wipe(&mut self) {
        assert!(!self.process.is_running(), "stop the registry first");
        std::fs::remove_dir_all(&self.dir).expect("remove the registry's data");
    }
}
