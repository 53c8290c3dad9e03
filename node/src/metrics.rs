//! The text format of Prometheus (version 0.0.4), written by hand.
//!
//! The format is three kinds of lines, and what is counted here are fixed sets of atomics: a client library would bring
//! label sets behind locks to the hot path and nothing that we need. Every label value comes from a fixed set or is a
//! member's id, so the number of series is bounded.

use std::fmt::{Display, Write};

/// A page of metrics in the making.
#[derive(Debug, Default)]
pub struct Text(String);

/// What a family of samples is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets with `le`, a sum and a count.
    Histogram,
}

impl Text {
    /// Starts a family: all samples of one name stand together below it.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample; label values are escaped.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if at == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The page.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// What the kernel says of this process. What it does not say is left out.
pub fn process(into: &mut Text) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = resident.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    if let Some(kibibytes) = kibibytes {
        into.single("process_resident_memory_bytes", Kind::Gauge, "Memory in use.", kibibytes * 1024);
    }
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name stands in parentheses and may hold anything; the fields behind it are numbers. User and system
    // time are the 14th and 15th of all, in ticks, of which Linux tells user space 100 a second on every machine.
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    if let (Some(user), Some(system)) = (ticks(), ticks()) {
        let seconds = (user + system) as f64 / 100.0;
        into.single("process_cpu_seconds_total", Kind::Counter, "Processor time, user and system.", seconds);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        into.single("process_open_fds", Kind::Gauge, "Open file descriptors.", open.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_families_announced() {
        let mut text = Text::default();
        text.family("a_total", Kind::Counter, "What a\\b\nis.");
        text.sample("a_total", &[("x", "say \"hi\"\n\\"), ("y", "")], 3);
        text.single("b", Kind::Gauge, "B.", 0.5);
        assert_eq!(
            text.into_string(),
            "# HELP a_total What a\\\\b\\nis.\n# TYPE a_total counter\na_total{x=\"say \\\"hi\\\"\\n\\\\\",y=\"\"} 3\n\
             # HELP b B.\n# TYPE b gauge\nb 0.5\n"
        );
    }

    #[test]
    fn the_process_has_memory_and_used_some_time() {
        let mut text = Text::default();
        process(&mut text);
        let text = text.into_string();
        for name in ["process_resident_memory_bytes ", "process_cpu_seconds_total ", "process_open_fds "] {
            assert!(text.contains(&format!("\n{name}")), "{name} is missing in {text}");
        }
    }
}
