//! What the benches of gossip have in common: the machine's word, a cell of a table, and the page that is written.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The machine's processors, and its load averages as they are now.
pub fn machine() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} cores ({}), load average {} when it began (the other work of the machine)",
        model(),
        load.join(" ")
    )
}

fn model() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = told.lines().find_map(|line| line.strip_prefix("model name"));
    model.map_or("unknown", |model| model.trim_start_matches([' ', '\t', ':'])).to_owned()
}

/// Median and worst in milliseconds.
pub fn times(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    match (times.get(times.len() / 2), times.last()) {
        (Some(median), Some(worst)) => format!("{} / {}", median.as_millis(), worst.as_millis()),
        _ => "-".to_owned(),
    }
}

/// Writes a page into a folder, `docs/benchmarks` if none is given, and says where it is.
///
/// # Errors
/// When it cannot be written.
pub fn write(folder: Option<&Path>, name: &str, text: &str) -> Result<String, String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks");
    let file: PathBuf = folder.unwrap_or(&docs).join(name);
    std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(format!("written to {}", file.display()))
}
