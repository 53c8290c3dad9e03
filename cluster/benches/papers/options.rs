//! What a person may choose.

use std::path::PathBuf;

/// What was said on the command line.
#[derive(Debug)]
pub(crate) struct Options {
    experiments: Vec<String>,
    /// The largest group.
    pub(crate) max: usize,
    /// Of the first run of each kind; the others count on from it.
    pub(crate) seed: u64,
    /// Few and short runs.
    pub(crate) quick: bool,
    /// Where the results go.
    pub(crate) out: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments of this program; `usage` tells people which there are.
    pub(crate) fn read(usage: &str) -> Result<Self, String> {
        let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks");
        let mut options = Self { experiments: Vec::new(), max: 2_048, seed: 1, quick: false, out: Some(docs) };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value\n{usage}"));
            match argument.as_str() {
                "--max" => options.max = value()?.parse().map_err(|_| usage.to_owned())?,
                "--seed" => options.seed = value()?.parse().map_err(|_| usage.to_owned())?,
                "--quick" => options.quick = true,
                "--out" => options.out = Some(value()?).filter(|out| out != "-").map(PathBuf::from),
                // Given by cargo.
                "--bench" => {}
                name if !name.starts_with('-') => options.experiments.push(name.to_owned()),
                _ => return Err(usage.to_owned()),
            }
        }
        Ok(options)
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.experiments.is_empty() || self.experiments.iter().any(|wanted| wanted == name)
    }

    /// How many runs, where `usual` are wanted.
    pub(crate) fn runs(&self, usual: u64) -> u64 {
        if self.quick { (usual / 10).max(1) } else { usual }
    }

    /// Sizes up to the maximum.
    pub(crate) fn sizes<'a>(&self, all: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        let max = self.max;
        all.iter().copied().filter(move |size| *size <= max)
    }
}
