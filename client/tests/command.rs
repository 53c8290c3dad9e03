//! The `muster` program: help texts as they were reviewed, and exit statuses.
//!
//! Help is compared with `testdata/help/`; run with `UPDATE=1` to rewrite it, then review the difference. The stand-in serves
//! only where a status stands for a failure that a real cluster cannot be made to have at will.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test may unwrap: its panic is its verdict")]

mod stand_in;

use std::path::Path;
use std::process::{Output, Stdio};

use stand_in::{Action, StandIn, error, nobody, value};

fn muster(args: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_muster"));
    let settings =
        std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("MUSTER_"));
    settings.for_each(|name| {
        command.env_remove(name);
    });
    command.env_remove("COLUMNS").env_remove("RUST_LOG");
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(args: &[&str]) -> Output {
    muster(args).output().await.unwrap()
}

/// Time enough for an answer on a busy machine; what is retried until the end gets as little as is safe.
async fn status_at(endpoint: &str, args: &[&str]) -> (Option<i32>, String) {
    let retried = args.contains(&"leaderless") || args.contains(&"lost");
    let timeout = if retried { "2s" } else { "20s" };
    let output = run(&[&["--endpoint", endpoint, "--timeout", timeout], args].concat()).await;
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn help_is_as_it_was_reviewed() {
    let commands = [
        "",
        "put",
        "get",
        "del",
        "list",
        "members",
        "leader",
        "leader transfer",
        "status",
        "leave",
        "remove",
        "config",
        "registry",
        "doctor",
        "up",
        "bench",
        "completions",
    ];
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let output = run(&words).await;
        assert!(output.status.success(), "{command}");
        let help = String::from_utf8(output.stdout).unwrap();
        let name = if command.is_empty() { "muster".to_owned() } else { command.replace(' ', "-") };
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/help").join(format!("{name}.txt"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &help).unwrap();
        }
        let reviewed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            help == reviewed,
            "help of `muster {command}` differs from {}; UPDATE=1 rewrites it:\n{help}",
            file.display()
        );
    }
}

#[tokio::test]
async fn statuses_tell_scripts_what_happened() {
    let node = StandIn::start(|request| match request.path() {
        "/kv/absent" => error(404, "not_found", "null", ""),
        "/kv/guarded" => error(412, "condition_failed", r#""not_applied""#, ""),
        "/kv/lost" => Action::BreakOff,
        "/kv/leaderless" => error(503, "no_leader", r#""not_applied""#, ""),
        "/kv/large" => error(413, "too_large", r#""not_applied""#, ""),
        _ => value("hello", 3),
    })
    .await;
    let at = node.address.as_str();
    assert_eq!(status_at(at, &["get", "present"]).await, (Some(0), String::new()));
    assert_eq!(status_at(at, &["put", "large", "v"]).await.0, Some(1));
    assert_eq!(status_at(at, &["get", ""]).await.0, Some(2));
    assert_eq!(status_at(at, &["get"]).await.0, Some(2));
    let (status, said) = status_at(at, &["list", "--limit", "0"]).await;
    assert!(status == Some(2) && said.contains("a whole number from 1"), "{said}");
    assert_eq!(status_at(at, &["get", "absent"]).await.0, Some(3));
    assert_eq!(status_at(at, &["put", "guarded", "v", "--if-absent"]).await.0, Some(4));
    assert_eq!(status_at(at, &["put", "leaderless", "v"]).await.0, Some(5));
    assert_eq!(status_at(&nobody().await, &["put", "k", "v"]).await.0, Some(5));
    let (status, said) = status_at(at, &["put", "lost", "v"]).await;
    assert_eq!(status, Some(6));
    assert!(said.contains("Whether it took effect is unknown") && said.lines().count() <= 2, "{said}");
}

#[tokio::test]
async fn a_value_is_written_as_it_is_and_nothing_else() {
    let node = StandIn::start(|_| value("a\tb\n\n", 3)).await;
    let output = run(&["get", "k", "--endpoint", &node.address]).await;
    assert_eq!(output.stdout, b"a\tb\n\n");
}

#[tokio::test]
async fn a_reader_that_leaves_early_is_no_error() {
    // The generated script is longer than a pipe holds, and nobody reads it.
    let mut child = muster(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[tokio::test]
async fn the_file_and_the_environment_name_endpoints() {
    let node = StandIn::start(|_| value("hello", 3)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("muster.toml");
    std::fs::write(&file, format!("endpoint = ['{}']\noutput = 'json'\n", node.address)).unwrap();
    let output = muster(&["get", "k"]).env("MUSTER_CONFIG", &file).output().await.unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(r#""text":"hello""#), "{output:?}");
    let output =
        muster(&["get", "k"]).env("MUSTER_ENDPOINT", &node.address).env("MUSTER_REGISTRY_ADDRESS", "").output().await;
    assert_eq!(output.unwrap().stdout, b"hello");
}
