//! The `muster` command line, run to its end.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::binaries;

/// 30 s: every command has a limit of its own below that.
const WITHIN: Duration = Duration::from_secs(30);

/// What a command said and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    shown: String,
}

/// Runs `muster` with these arguments and nothing on its standard input.
pub async fn muster(args: &[&str]) -> Said {
    run("muster", args, b"").await
}

/// Runs `muster` with something on its standard input.
pub async fn muster_reading(args: &[&str], input: &[u8]) -> Said {
    run("muster", args, input).await
}

/// Runs `muster` on a machine of its own (see [`Net`](crate::netns::Net)).
pub async fn muster_on(namespace: &str, args: &[&str]) -> Said {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(binaries::program("muster"));
    finish(command, "muster", args, b"").await
}

/// Runs any of the programs to its end.
///
/// # Panics
/// When it does not end in time.
pub async fn run(program: &str, args: &[&str], input: &[u8]) -> Said {
    finish(Command::new(binaries::program(program)), program, args, input).await
}

async fn finish(mut command: Command, program: &str, args: &[&str], input: &[u8]) -> Said {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MUSTER_")) {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    let shown = format!("{program} {}", args.join(" "));
    let mut stdin = child.stdin.take().expect("piped");
    // A command that does not read its input has closed it.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    let Ok(ended) = tokio::time::timeout(WITHIN, child.wait_with_output()).await else {
        panic!("`{shown}` did not end within {WITHIN:?}");
    };
    let Output { status, stdout, stderr } = ended.expect("wait for a child");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { status: status.code(), out: text(stdout), err: text(stderr), shown }
}

impl Said {
    /// Expects this exit status.
    ///
    /// # Panics
    /// When it was another, with all that it said.
    pub fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "`{}` said: {}{}", self.shown, self.out, self.err);
        self
    }

    /// Standard output without the line end.
    pub fn line(&self) -> &str {
        self.out.trim_end()
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("`{}`: {error} in: {}", self.shown, self.out))
    }
}
