//! A child process: started in a group of its own, so that ctrl-C reaches it through us and in good order.

use std::fs::OpenOptions;
use std::future::Future;
use std::process::{ExitStatus, Stdio};

use futures_util::future::{join_all, select_all};

use super::layout::Place;
use crate::failure::{Failure, Status};

/// A process that runs, or ran.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: String,
    pub(super) pid: u32,
    process: tokio::process::Child,
    pub(super) log: std::path::PathBuf,
    /// Whether its end was seen.
    ended: bool,
}

/// Somebody's end.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) name: String,
    pub(super) how: String,
}

impl Child {
    pub(super) fn start(place: &Place) -> Result<Self, Failure> {
        let log = OpenOptions::new().create(true).append(true).open(&place.log)?;
        let process = tokio::process::Command::new(&place.program)
            .args(&place.args)
            // Ours: the flags in it are not theirs. Their own variables reach them.
            .env_remove("MUSTER_CONFIG")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let process = process.map_err(|error| {
            Failure::new(Status::Failed, format!("{} cannot be started: {error}", place.program.display()))
        })?;
        let pid = process.id().unwrap_or_default();
        Ok(Self { name: place.name.clone(), pid, process, log: place.log.clone(), ended: false })
    }

    /// Asks it to stop.
    pub(super) fn terminate(&self) {
        let pid = self.process.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            // It may have ended by itself a moment ago.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    async fn end(&mut self) -> Ended {
        let how = match self.process.wait().await {
            Ok(status) => describe(status),
            Err(error) => error.to_string(),
        };
        Ended { name: self.name.clone(), how }
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(9)) => "killed".to_owned(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    }
}

/// Waits for the next end; `None` when nobody is left.
pub(super) async fn any_ended(children: &mut [Child]) -> Option<Ended> {
    let (indices, running): (Vec<_>, Vec<_>) = children
        .iter_mut()
        .enumerate()
        .filter(|(_, child)| !child.ended)
        .map(|(i, child)| (i, Box::pin(child.end())))
        .unzip();
    if running.is_empty() {
        return None;
    }
    let (ended, which, rest) = select_all(running).await;
    drop(rest);
    children[indices[which]].ended = true;
    Some(ended)
}

/// Waits for all; those that are left when `impatient` is done are killed.
pub(super) async fn all_ended(mut children: Vec<Child>, impatient: impl Future<Output = ()>) {
    let all = join_all(children.iter_mut().map(Child::end));
    tokio::select! {
        _ = all => return,
        () = impatient => {}
    }
    for child in &mut children {
        // Its data is safe: whatever was acknowledged is on disk.
        let _ = child.process.kill().await;
    }
}
