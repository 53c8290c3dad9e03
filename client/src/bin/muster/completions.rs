//! `muster completions`

use clap::{Args, Command};
use clap_complete::Shell;
use std::io::{self, Write};

use crate::failure::Failure;

/// Write a completion script for a shell to standard output
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(muster completions bash)
  muster completions zsh > ~/.zfunc/_muster
  muster completions fish > ~/.config/fish/completions/muster.fish")]
pub(crate) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, mut command: Command) -> Result<(), Failure> {
        // Into memory first: the generator panics when its reader leaves early.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "muster", &mut script);
        io::stdout().lock().write_all(&script)?;
        Ok(())
    }
}
