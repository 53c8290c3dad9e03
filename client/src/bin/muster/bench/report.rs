//! What was measured, for people and for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::load::{Measured, histogram};
use crate::failure::Failure;
use crate::output::{self, Cell, Format, Tone};

/// The sum over all workers.
pub(super) struct Report {
    elapsed: Duration,
    writes: Histogram<u64>,
    reads: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

impl Report {
    pub(super) fn new(elapsed: Duration) -> Self {
        Self { elapsed, writes: histogram(), reads: histogram(), errors: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, measured: Measured) {
        // Same bounds on both sides, so that nothing is refused.
        let _ = self.writes.add(&measured.writes);
        let _ = self.reads.add(&measured.reads);
        for (kind, count) in measured.errors {
            *self.errors.entry(kind).or_default() += count;
        }
    }

    fn kinds(&self) -> impl Iterator<Item = (&'static str, &Histogram<u64>)> {
        [("write", &self.writes), ("read", &self.reads)].into_iter().filter(|(_, histogram)| !histogram.is_empty())
    }

    fn rate(&self, histogram: &Histogram<u64>) -> f64 {
        histogram.len() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    pub(super) fn show(&self, format: Format) -> Result<(), Failure> {
        match format {
            Format::Json => output::json(&self.json())?,
            Format::Plain => {
                for (kind, histogram) in self.kinds() {
                    let rate = format!("{:.0}", self.rate(histogram));
                    let [p50, p90, p99, p999, max] = percentiles(histogram).map(|micros| micros.to_string());
                    output::plain([kind.to_owned(), histogram.len().to_string(), rate, p50, p90, p99, p999, max])?;
                }
                for (kind, count) in &self.errors {
                    output::plain(["error".to_owned(), count.to_string(), kind.clone()])?;
                }
            }
            Format::Table => self.table()?,
        }
        Ok(())
    }

    fn table(&self) -> Result<(), Failure> {
        let row = |(kind, histogram): (&str, &Histogram<u64>)| -> [Cell; 8] {
            let rate = Cell::new(format!("{:.0}/s", self.rate(histogram)), Tone::Strong);
            let [p50, p90, p99, p999, max] = percentiles(histogram).map(|micros| Cell::from(milliseconds(micros)));
            [kind.into(), histogram.len().to_string().into(), rate, p50, p90, p99, p999, max]
        };
        let rows: Vec<_> = self.kinds().map(row).collect();
        if rows.is_empty() {
            output::line("Nothing succeeded.")?;
        } else {
            output::table(["", "DONE", "RATE", "P50", "P90", "P99", "P99.9", "MAX"], &rows, true)?;
        }
        if self.errors.is_empty() {
            output::line("No request failed.")?;
        } else {
            let rows: Vec<_> = self
                .errors
                .iter()
                .map(|(kind, n)| [Cell::new(n.to_string(), Tone::Bad), kind.as_str().into()])
                .collect();
            output::table(["FAILED", "HOW"], &rows, true)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let kinds = self.kinds().map(|(kind, histogram)| {
            let [p50, p90, p99, p999, max] = percentiles(histogram);
            let micros = json!({ "p50": p50, "p90": p90, "p99": p99, "p99_9": p999, "max": max });
            (kind.to_owned(), json!({ "done": histogram.len(), "per_second": self.rate(histogram), "micros": micros }))
        });
        let mut object: serde_json::Map<String, Value> = kinds.collect();
        object.insert("seconds".to_owned(), json!(self.elapsed.as_secs_f64()));
        object.insert("errors".to_owned(), json!(self.errors));
        Value::Object(object)
    }
}

fn percentiles(histogram: &Histogram<u64>) -> [u64; 5] {
    let at = |quantile| histogram.value_at_quantile(quantile);
    [at(0.5), at(0.9), at(0.99), at(0.999), histogram.max()]
}

fn milliseconds(micros: u64) -> String {
    let ms = micros as f64 / 1000.0;
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_add_up() {
        let mut report = Report::new(Duration::from_secs(2));
        for _ in 0..2 {
            let mut measured = Measured { writes: histogram(), reads: histogram(), errors: BTreeMap::new() };
            measured.writes.record(1000).unwrap();
            measured.errors.insert("503 no_leader".to_owned(), 3);
            report.add(measured);
        }
        let json = report.json();
        assert_eq!((json["write"]["done"].as_u64(), json["write"]["per_second"].as_f64()), (Some(2), Some(1.0)));
        assert_eq!(json["errors"]["503 no_leader"].as_u64(), Some(6));
        assert!(json.get("read").is_none());
    }
}
