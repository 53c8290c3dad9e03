//! Flags from the command line, the environment and a TOML file.
//!
//! A flag beats the environment, the environment beats the file, the file beats the default. The first two are clap's;
//! the file is put beneath them as each flag's default value, so nothing here decides about precedence.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches};

/// Parses this process's command line over its environment over the file that `--config` (or `MUSTER_CONFIG`) names.
///
/// `T` must have an argument with the id `config` that holds a path. Keys of the file are the long names of the flags;
/// `_` may stand for `-`, and a list repeats a repeatable flag. On a usage error (an unknown key of the file included) the
/// message goes to standard error and the process exits with status 2; `--help` and `--version` exit with 0.
pub fn parse<T: CommandFactory + FromArgMatches>() -> T {
    try_parse(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// [`parse`] over given arguments (the first is the program's name), returning the error.
pub fn try_parse<T: CommandFactory + FromArgMatches>(
    args: impl IntoIterator<Item = OsString>,
) -> Result<T, clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut command = T::command();
    if let Some(path) = config_path(&command, &args) {
        command = with_file(command, &path)?;
    }
    let matches = command.clone().try_get_matches_from(args)?;
    T::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Parses a value that counts something and cannot be zero, in words that say what to write instead.
pub fn count<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "write a whole number from 1".to_owned())
}

/// Where the file is, read before the real parse so that its values can become defaults of that parse.
fn config_path(command: &Command, args: &[OsString]) -> Option<PathBuf> {
    let lenient = command.clone().ignore_errors(true).disable_help_flag(true).disable_version_flag(true);
    let matches = lenient.try_get_matches_from(args).ok()?;
    matches.try_get_one::<PathBuf>("config").ok().flatten().cloned()
}

fn with_file(mut command: Command, path: &Path) -> Result<Command, clap::Error> {
    let refuse = |command: &mut Command, why: String| {
        command.error(ErrorKind::ValueValidation, format!("configuration file {}: {why}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| refuse(&mut command, error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| refuse(&mut command, error.to_string()))?;
    for (key, value) in table {
        let long = key.replace('_', "-");
        let known = command.get_arguments().find(|arg| arg.get_long() == Some(&long) && long != "config");
        let Some(id) = known.map(|arg| arg.get_id().clone()) else {
            return Err(refuse(&mut command, format!("there is no flag --{long}")));
        };
        let Some(values) = scalars(value) else {
            return Err(refuse(
                &mut command,
                format!("`{key}` must be a text, a number, true or false, or a list of them"),
            ));
        };
        command = command.mut_arg(id, |arg| arg.default_values(values).required(false));
    }
    Ok(command)
}

fn scalars(value: toml::Value) -> Option<Vec<String>> {
    use toml::Value;
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Integer(number) => Some(vec![number.to_string()]),
        Value::Float(number) => Some(vec![number.to_string()]),
        Value::Boolean(flag) => Some(vec![flag.to_string()]),
        Value::Datetime(_) | Value::Table(_) => None,
        Value::Array(items) => items
            .into_iter()
            .map(|item| scalars(item).and_then(|mut one| if one.len() == 1 { one.pop() } else { None }))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::io::Write;

    #[derive(Parser, Debug)]
    #[command(name = "probe")]
    struct Probe {
        #[arg(long, env = "MUSTER_TEST_FLAGS_CONFIG")]
        config: Option<PathBuf>,
        #[arg(long, default_value = "default")]
        name: String,
        #[arg(long)]
        join: Vec<String>,
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn run(file: &tempfile::NamedTempFile, more: &[&str]) -> Result<Probe, clap::Error> {
        let mut args: Vec<OsString> = vec!["probe".into(), "--config".into(), file.path().into()];
        args.extend(more.iter().map(OsString::from));
        try_parse(args)
    }

    #[test]
    fn the_file_beats_the_default_and_a_flag_beats_the_file() {
        let file = file("name = 'file'\njoin = ['a:1', 'b:2']");
        let plain = run(&file, &[]).unwrap();
        assert_eq!((plain.name.as_str(), plain.join.len()), ("file", 2));
        let flagged = run(&file, &["--name", "flag", "--join", "c:3"]).unwrap();
        assert_eq!((flagged.name.as_str(), flagged.join), ("flag", vec!["c:3".to_owned()]));
    }

    #[test]
    fn an_unknown_key_a_wrong_type_and_a_missing_file_are_refused_by_name() {
        assert!(run(&file("nmae = 'x'"), &[]).unwrap_err().to_string().contains("--nmae"));
        assert!(run(&file("[name]\nx = 1"), &[]).unwrap_err().to_string().contains("`name`"));
        let gone = try_parse::<Probe>(["probe", "--config", "/nonexistent/muster.toml"].map(OsString::from));
        assert!(gone.unwrap_err().to_string().contains("/nonexistent/muster.toml"));
    }
}
