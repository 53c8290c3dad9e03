//! Results on standard output: a table, JSON, or plain text.
//!
//! Colour only on a terminal, and not where `NO_COLOR` is set.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For scripts: values separated by tabs, no headings.
    Plain,
}

/// What a cell means, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Strong,
    Good,
    Warning,
    Bad,
}

/// A cell of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// A line of text.
pub(crate) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// A value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Bytes as they are. A terminal gets a line end behind them, or the prompt would stick to the value.
pub(crate) fn bytes(value: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(value)?;
    if out.is_terminal() && !value.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Rows under a heading, columns as wide as their widest cell. A later page of the same table goes without the heading.
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[Cell; N]], first: bool) -> io::Result<()> {
    let mut widths = heading.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let colour = coloured(&io::stdout());
    let mut out = io::BufWriter::new(io::stdout().lock());
    if first {
        writeln!(out, "{}", aligned(&heading.map(|text| Cell::new(text, Tone::Strong)), &widths, colour))?;
    }
    rows.iter().try_for_each(|row| writeln!(out, "{}", aligned(row, &widths, colour)))?;
    out.flush()
}

/// Cells on one line, separated by tabs.
pub(crate) fn plain<const N: usize>(cells: [String; N]) -> io::Result<()> {
    line(&cells.join("\t"))
}

fn aligned(row: &[Cell], widths: &[usize], colour: bool) -> String {
    let last = row.len().saturating_sub(1);
    let cells = row.iter().zip(widths).enumerate().map(|(index, (cell, width))| {
        let padding = if index == last { 0 } else { width.saturating_sub(cell.text.chars().count()) };
        format!("{}{}", paint(&cell.text, cell.tone, colour), " ".repeat(padding))
    });
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// Whether colours may go there.
pub(crate) fn coloured(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

pub(crate) fn paint(text: &str, tone: Tone, colour: bool) -> String {
    let code = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Strong => 1,
        Tone::Good => 32,
        Tone::Warning => 33,
        Tone::Bad => 31,
    };
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// The start of a value, for a table.
pub(crate) fn cell(value: &[u8]) -> String {
    const LONGEST: usize = 60;
    let text = String::from_utf8_lossy(value);
    let mut shown: String = text.chars().take(LONGEST).flat_map(printable).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// All of a text on one line: control characters would tear tables and drive terminals, and anyone may have put them.
pub(crate) fn escaped(value: &[u8]) -> String {
    String::from_utf8_lossy(value).chars().flat_map(printable).collect()
}

/// Control characters escaped, and with them those that turn the direction of text or hide.
fn printable(c: char) -> Vec<char> {
    let deceives =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    if c.is_control() || deceives { c.escape_default().collect() } else { vec![c] }
}

/// A number with its noun.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A duration to two or three digits, for people: `340ms`, `12s`, `3m`.
pub(crate) fn ago(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        seconds @ 1..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A number of bytes to three digits, for people.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, worth)| bytes >= *worth) {
        Some((unit, worth)) => {
            let value = bytes as f64 / *worth as f64;
            if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_short_and_has_no_control_characters() {
        assert_eq!(cell(b"a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(cell(&[b'x'; 100]).chars().count(), 61);
        assert_eq!(escaped(&[b'\t'; 100]).len(), 200);
        assert_eq!(escaped("a\u{202e}b ä".as_bytes()), "a\\u{202e}b ä");
    }

    #[test]
    fn colour_does_not_shift_columns() {
        let row = [Cell::new("a", Tone::Bad), "b".into()];
        assert_eq!(aligned(&row, &[3, 3], false), "a    b");
        assert_eq!(aligned(&row, &[3, 3], true), "\x1b[31ma\x1b[0m    b");
    }

    #[test]
    fn quantities_are_short() {
        assert_eq!(ago(Duration::from_millis(340)), "340ms");
        assert_eq!(ago(Duration::from_secs(7_200)), "2h");
        assert_eq!((size(17), size(1536), size(64 << 20)), ("17 B".into(), "1.5 KiB".into(), "64 MiB".into()));
    }
}
