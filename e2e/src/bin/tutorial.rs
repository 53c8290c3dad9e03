//! Runs a chapter of the tutorial as a newcomer would: types what stands behind each `$` and compares what comes.
//!
//! ```text
//! cargo run -p muster-e2e --bin tutorial -- docs/tutorial/1.0.0-one-server.md
//! ```
//!
//! A ```` ```console ```` block holds commands (`$ ...`, continued by a `\` at the end of the line) and what they print. In the expected
//! text `[..]` stands for anything within a line, and a line `...` for any number of lines. All commands of a chapter go to one
//! shell in the project's root, so background processes and variables live on; what is still running at the end is ended.

#![expect(clippy::print_stdout, reason = "a program that reports to a person")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// No command of a chapter takes longer, builds apart.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);
const BUILD_TIMEOUT: Duration = Duration::from_secs(1800);

struct Step {
    line: usize,
    command: String,
    expected: Vec<String>,
}

fn main() -> ExitCode {
    let chapters: Vec<String> = std::env::args().skip(1).collect();
    if chapters.is_empty() {
        eprintln!("usage: tutorial CHAPTER.md...");
        return ExitCode::from(2);
    }
    for chapter in chapters {
        match run(&chapter) {
            Ok(steps) => println!("{chapter}: {steps} commands did what the chapter says"),
            Err(why) => {
                eprintln!("{chapter}: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn run(chapter: &str) -> Result<usize, String> {
    let text = std::fs::read_to_string(chapter).map_err(|error| error.to_string())?;
    let steps = parse(&text);
    if steps.is_empty() {
        return Err("it has no ```console blocks with `$ ` commands".to_owned());
    }
    let mut shell = Shell::start().map_err(|error| format!("bash: {error}"))?;
    for step in &steps {
        println!("{chapter}:{}: $ {}", step.line, step.command);
        let output = shell.type_in(&step.command).map_err(|why| format!("line {}: {why}", step.line))?;
        if !matches(&step.expected, &output) {
            return Err(format!(
                "line {}: `{}` printed\n{}\nand the chapter says\n{}",
                step.line,
                step.command,
                indent(&output),
                indent(&step.expected)
            ));
        }
    }
    Ok(steps.len())
}

fn indent(lines: &[String]) -> String {
    lines.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut inside, mut continued) = (false, false);
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
            continued = false;
        } else if let Some(last) = steps.last_mut().filter(|_| inside && continued) {
            last.command.push('\n');
            last.command.push_str(line);
            continued = line.ends_with('\\');
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            steps.push(Step { line: number + 1, command: command.to_owned(), expected: Vec::new() });
            continued = line.ends_with('\\');
        } else if let Some(last) = steps.last_mut().filter(|_| inside) {
            last.expected.push(line.to_owned());
        }
    }
    steps
}

/// Whether output lines match expected ones with their `[..]` and `...`.
fn matches(expected: &[String], output: &[String]) -> bool {
    match (expected.split_first(), output.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "..." => {
            (0..=output.len()).any(|skipped| matches(rest, &output[skipped..]))
        }
        (Some((want, wants)), Some((got, gots))) => line_matches(want, got) && matches(wants, gots),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn line_matches(want: &str, got: &str) -> bool {
    let mut pieces = want.trim_end().split("[..]");
    let Some(mut rest) = pieces.next().and_then(|first| got.trim_end().strip_prefix(first)) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

struct Shell {
    child: Child,
    lines: mpsc::Receiver<String>,
}

const MARK: &str = "--8<-- end of output --8<--";

impl Shell {
    fn start() -> std::io::Result<Self> {
        // A session of its own, so that whatever a chapter leaves running can be ended with it.
        let mut child = Command::new("setsid")
            .args(["--wait", "bash", "--noprofile", "--norc"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { child, lines })
    }

    fn type_in(&mut self, command: &str) -> Result<Vec<String>, String> {
        let stdin = self.child.stdin.as_mut().ok_or("the shell has gone")?;
        writeln!(stdin, "{command}\necho '{MARK}'").map_err(|error| error.to_string())?;
        let timeout = if command.starts_with("cargo build") { BUILD_TIMEOUT } else { COMMAND_TIMEOUT };
        let mut output = Vec::new();
        loop {
            match self.lines.recv_timeout(timeout) {
                Ok(line) if line == MARK => return Ok(output),
                Ok(line) => output.push(line),
                Err(error) => return Err(format!("`{command}`: {error}, after\n{}", indent(&output))),
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Ends the shell's own background jobs, then the shell.
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = writeln!(stdin, "kill $(jobs -p) 2>/dev/null; wait; exit");
        }
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn commands_continue_and_keep_what_they_print() {
        let steps = parse("text\n```console\n$ a \\\n    b\nout\n$ c\n```\n```toml\n$ d\n```\n");
        let found: Vec<_> = steps.iter().map(|step| (step.line, step.command.as_str(), step.expected.len())).collect();
        assert_eq!(found, [(3, "a \\\n    b", 1), (6, "c", 0)]);
    }

    #[test]
    fn wildcards_match_what_they_say_and_no_more() {
        assert!(matches(&lines("a [..] c\n...\nend"), &lines("a b b c\n1\n2\nend")));
        assert!(matches(&lines("x"), &lines("x")));
        assert!(!matches(&lines("x"), &lines("x\ny")));
        assert!(!matches(&lines("a[..]c"), &lines("ab")));
        assert!(!matches(&lines("x\n..."), &lines("y")));
    }
}
