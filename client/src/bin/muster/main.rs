//! The `muster` command line.
//!
//! One file a command; this one only says which there are and turns a failure into words and an exit status.

mod bench;
mod completions;
mod config;
mod connect;
mod del;
mod doctor;
mod failure;
mod get;
mod keys;
mod leader;
mod leave;
mod list;
mod members;
mod node;
mod output;
mod put;
mod ready;
mod registry;
mod status;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use muster_client::flags;

use connect::Connect;
use failure::Failure;
use output::Format;

macro_rules! exit_statuses {
    () => {
        "Exit status: 0 done, 1 failed, 2 usage, 3 not found, 4 condition not met,
5 no node or no leader, 6 outcome unknown (the write may have been applied)."
    };
}

/// Keep data in a Muster cluster, and look after the cluster
#[derive(Debug, Parser)]
#[command(name = "muster", version, propagate_version = true, max_term_width = 100, after_help = exit_statuses!())]
#[command(after_long_help = concat!(
    "Examples:
  muster up                        a cluster on this machine, to try things with
  muster put greeting hello
  muster get greeting
  muster status
  muster doctor                    what is wrong, and what to do

Every flag above can also come from the environment (MUSTER_ENDPOINT and so on) or from the file of --config.

",
    exit_statuses!()
))]
struct Cli {
    #[command(flatten)]
    connect: Connect,

    /// How to write results: a table for people, JSON, or plain text for scripts
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t, env = "MUSTER_OUTPUT")]
    #[arg(help_heading = "Output")]
    output: Format,

    /// TOML file with values for these flags, such as `endpoint = "http://127.0.0.1:8050"`
    ///
    /// A flag beats the environment, the environment beats the file.
    #[arg(long, global = true, value_name = "FILE", env = "MUSTER_CONFIG", help_heading = "Connection")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Put(put::Put),
    Get(get::Get),
    #[command(visible_alias = "delete")]
    Del(del::Del),
    List(list::List),
    Members(members::Members),
    Leader(leader::Leader),
    Status(status::Status),
    Doctor(doctor::Doctor),
    Leave(leave::Leave),
    Remove(leave::Remove),
    Config(config::Config),
    Keys(keys::Keys),
    Registry(registry::Registry),
    Ready(ready::Ready),
    Up(up::Up),
    Bench(bench::Bench),
    Completions(completions::Completions),
}

fn main() -> ExitCode {
    let cli: Cli = flags::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).report(),
    };
    let result = runtime.block_on(run(cli));
    // Searches for nodes may still be under way beside the command; nobody waits for them.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { connect, output, config: _, command } = cli;
    // Those that need no cluster.
    match command {
        Command::Completions(completions) => return completions.run(Cli::command()),
        Command::Up(up) => return up.run(connect.cluster(), output).await,
        Command::Registry(registry) => return registry.run(&connect.registries()?, connect.cluster(), output).await,
        Command::Ready(ready) => return ready.run(output).await,
        Command::Keys(keys) => return keys.run(&connect, output).await,
        _ => {}
    }
    let client = connect.client()?;
    match command {
        Command::Put(put) => put.run(&client, output).await,
        Command::Get(get) => get.run(&client, output).await,
        Command::Del(del) => del.run(&client, output).await,
        Command::List(list) => list.run(&client, output).await,
        Command::Members(members) => members.run(&client, output).await,
        Command::Leader(leader) => leader.run(&client, output).await,
        Command::Status(status) => status.run(&client, output).await,
        Command::Doctor(doctor) => doctor.run(&client, &connect.named_registries()?, connect.cluster(), output).await,
        Command::Leave(leave) => leave.run(&client, output).await,
        Command::Remove(remove) => remove.run(&client, output).await,
        Command::Config(config) => config.run(&client, output).await,
        Command::Bench(bench) => bench.run(&client, output).await,
        Command::Completions(_) | Command::Up(_) | Command::Registry(_) | Command::Ready(_) | Command::Keys(_) => {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
