//! Results on standard output: a table, JSON, or plain text.

use std::io::{self, IsTerminal, Write};

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
pub(crate) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]], first: bool) -> io::Result<()> {
    let mut widths = heading.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = io::stdout().lock();
    if first {
        writeln!(out, "{}", aligned(&heading.map(str::to_owned), &widths))?;
    }
    rows.iter().try_for_each(|row| writeln!(out, "{}", aligned(row, &widths)))
}

fn aligned(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>();
    cells.join("  ").trim_end().to_owned()
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

fn printable(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_short_and_has_no_control_characters() {
        assert_eq!(cell(b"a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(cell(&[b'x'; 100]).chars().count(), 61);
        assert_eq!(escaped(&[b'\t'; 100]).len(), 200);
        assert_eq!(aligned(&["a".to_owned(), "b".to_owned()], &[3, 3]), "a    b");
    }
}
