//! Sections of the report: text, tables, goals, plots. Each experiment replaces its own section and leaves the others as they are.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::chart::Chart;

/// A file of sections.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) file: &'static str,
    /// Stands at the head of a new one.
    pub(crate) head: &'static str,
}

/// One experiment.
#[derive(Debug, Default)]
pub(crate) struct Section {
    text: String,
    charts: Vec<Chart>,
}

impl Section {
    pub(crate) fn new(title: &str) -> Self {
        Self { text: format!("## {title}\n\n"), charts: Vec::new() }
    }

    /// A paragraph.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.text, "{}\n", text.as_ref());
    }

    /// A goal, and whether it is met.
    pub(crate) fn goal(&mut self, met: bool, text: impl AsRef<str>) {
        let _ = writeln!(self.text, "- {}: {}\n", if met { "**met**" } else { "**missed**" }, text.as_ref());
    }

    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let _ = writeln!(self.text, "| {} |", head.join(" | "));
        let _ = writeln!(self.text, "|{}", "---|".repeat(head.len()));
        for row in rows {
            let _ = writeln!(self.text, "| {} |", row.join(" | "));
        }
        self.text.push('\n');
    }

    pub(crate) fn chart(&mut self, chart: Chart) {
        let _ = writeln!(self.text, "![{}]({})\n", chart.title, chart.file);
        self.charts.push(chart);
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Writes the plots, and puts the section in place of its last version.
    pub(crate) fn write(&self, report: &Report, name: &str, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        for chart in &self.charts {
            fs::write(folder.join(chart.file), chart.draw())?;
        }
        let file = folder.join(report.file);
        let old = fs::read_to_string(&file).unwrap_or_else(|_| report.head.to_owned());
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n"));
        let new = format!("{begin}{}{end}", self.text);
        let text = match (old.find(&begin), old.find(&end)) {
            (Some(from), Some(to)) => format!("{}{new}{}", &old[..from], &old[to + end.len()..]),
            _ => old + &new,
        };
        fs::write(file, text)
    }
}

/// With two decimals.
pub(crate) fn two(value: f64) -> String {
    if value.is_finite() { format!("{value:.2}") } else { "-".to_owned() }
}

/// With one decimal.
pub(crate) fn one(value: f64) -> String {
    if value.is_finite() { format!("{value:.1}") } else { "-".to_owned() }
}
