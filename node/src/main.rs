//! `muster-node`: reads its flags, starts, serves until it is told to stop; or does what a command says.
//!
//! Exit status: 0 after a stop in good order, 2 for a usage error, 1 otherwise with one line that says what to do.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use log::error;
use muster_node::flags::Command;

/// The C library's allocator keeps freed memory of short bursts and contends between worker threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let flags = muster_node::flags::parse();
    small_pages();
    // What the engines below us do by the way is of no use to an operator, nor what a client wrote that is no HTTP; what they warn of is.
    let quiet = "info,actix_server=warn,actix_http=off,openraft=off,tracing=off,fjall=warn,lsm_tree=warn";
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(quiet)).init();
    match &flags.command {
        Some(Command::Recover(how)) => told(muster_node::recovery::run(&flags.data_dir, how)),
        None => done(muster_node::startup::run(flags)),
    }
}

fn done(result: Result<(), impl Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// What a command has to say goes to standard output. A reader that is gone does not undo it.
fn told(result: Result<String, impl Display>) -> ExitCode {
    done(result.map(|text| {
        let _: Result<_, _> = std::io::stdout().write_all(text.as_bytes());
    }))
}

/// Huge pages would stay whole in memory for the few of their bytes that are in use: 2 MiB for each thread's stack, and twice the heap. Systems
/// that do not know them, or do not let us choose, are fine too.
fn small_pages() {
    let _: Result<_, _> = rustix::thread::disable_transparent_huge_pages(true);
}
