//! The `muster` command line.
//!
//! One file a command; this one only says which there are and turns a failure into words and an exit status.

mod connect;
mod del;
mod failure;
mod get;
mod list;
mod output;
mod put;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use muster_client::flags;

use connect::Connect;
use failure::Failure;
use output::Format;

/// Keep data in a Muster cluster and look after it.
#[derive(Debug, Parser)]
#[command(name = "muster", version, propagate_version = true, max_term_width = 100, after_help = EXIT_STATUSES)]
struct Cli {
    #[command(flatten)]
    connect: Connect,

    /// How to write results: a table for people, JSON, or plain text for scripts (tab-separated, no headings)
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t, env = "MUSTER_OUTPUT")]
    output: Format,

    /// TOML file with values for the flags above, such as `endpoint = "http://127.0.0.1:8050"`
    ///
    /// A flag beats the environment, the environment beats the file.
    #[arg(long, global = true, value_name = "FILE", env = "MUSTER_CONFIG")]
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
}

const EXIT_STATUSES: &str = "\
Exit status: 0 done, 1 failed, 2 usage, 3 not found, 4 condition not met,
5 no node or no leader, 6 outcome unknown (the write may have been applied).";

fn main() -> ExitCode {
    let cli: Cli = flags::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(error).report(),
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let client = cli.connect.client()?;
    match cli.command {
        Command::Put(put) => put.run(&client, cli.output).await,
        Command::Get(get) => get.run(&client, cli.output).await,
        Command::Del(del) => del.run(&client, cli.output).await,
        Command::List(list) => list.run(&client, cli.output).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
