//! Draws the figures as SVG: a row for each cell and system, a dot for the median, a line for the spread, on a logarithmic
//! axis, since a lone writer and 256 of them are two orders of magnitude apart.
//!
//! Three charts of dots and lines need a hundred lines; a plotting library would be twenty crates more to keep for them.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::report::{self, SYSTEMS};
use crate::results::{Results, Sample, Spread};

const WIDTH: f64 = 860.0;
/// Room for the names of the cells and systems.
const LEFT: f64 = 210.0;
/// Room for the figure beside its dot.
const RIGHT: f64 = 90.0;
const TOP: f64 = 56.0;
const ROW: f64 = 18.0;
/// Between two cells.
const GAP: f64 = 12.0;
/// Distinct for the colour-blind as well (Okabe and Ito), in the order of [`SYSTEMS`].
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#777777"];

struct Chart {
    file: &'static str,
    title: &'static str,
    figure: fn(&Sample) -> f64,
    /// A second figure, drawn as a ring.
    second: Option<fn(&Sample) -> f64>,
    show: fn(f64) -> String,
}

const CHARTS: [Chart; 3] = [
    Chart {
        file: "rates.svg",
        title: "Requests a second: median and spread of the rounds (more is better)",
        figure: |sample| sample.rate,
        second: None,
        show: |rate| if rate < 9_950.0 { format!("{:.1}k", rate / 1e3) } else { format!("{:.0}k", rate / 1e3) },
    },
    Chart {
        file: "latencies.svg",
        title: "Latency: p50 as a dot, p99 as a ring (less is better)",
        figure: |sample| sample.p50,
        second: Some(|sample| sample.p99),
        show: report::time,
    },
    Chart {
        file: "processor.svg",
        title: "Processor time a request, all servers together (less is better)",
        figure: |sample| sample.processor,
        second: None,
        show: report::time,
    },
];

/// Writes all charts into a folder.
pub(crate) fn write_all(results: &Results, out: &Path) -> io::Result<()> {
    for chart in &CHARTS {
        if let Some(svg) = chart.draw(results) {
            fs::write(out.join(chart.file), svg)?;
        }
    }
    Ok(())
}

impl Chart {
    fn draw(&self, results: &Results) -> Option<String> {
        let mut rows = String::new();
        let all = results.cells().into_iter().flat_map(|cell| SYSTEMS.map(|system| (cell, system)));
        let figures = [Some(self.figure), self.second].into_iter().flatten();
        let spreads =
            figures.flat_map(|figure| all.clone().filter_map(move |(cell, s)| results.spread(cell, s, figure)));
        let (least, most) =
            spreads.fold((f64::MAX, 0.0_f64), |(least, most), spread| (least.min(spread.least), most.max(spread.most)));
        if least > most {
            return None;
        }
        let (low, high) = (least.max(1e-3).log10().floor(), most.max(1e-2).log10().ceil());
        let x = |value: f64| LEFT + (value.max(1e-3).log10() - low) / (high - low).max(1.0) * (WIDTH - LEFT - RIGHT);
        let mut y = TOP;
        for cell in results.cells() {
            let name = cell.title();
            let _ = writeln!(rows, r#"<text x="8" y="{:.0}" font-weight="bold">{name}</text>"#, y + 4.0);
            for (system, colour) in SYSTEMS.iter().zip(COLOURS) {
                let Some(first) = results.spread(cell, system, self.figure) else { continue };
                let end = LEFT - 8.0;
                let _ = writeln!(
                    rows,
                    r#"<text x="{end}" y="{:.0}" text-anchor="end" fill="{colour}">{system}</text>"#,
                    y + 4.0
                );
                let right = match self.second.and_then(|second| results.spread(cell, system, second)) {
                    Some(second) => {
                        mark(&mut rows, &second, &x, y, colour, false);
                        second.most
                    }
                    None => first.most,
                };
                mark(&mut rows, &first, &x, y, colour, true);
                let (at, text) = (x(right) + 9.0, (self.show)(first.median));
                let _ = writeln!(rows, r#"<text x="{at:.1}" y="{:.0}" fill="{colour}">{text}</text>"#, y + 4.0);
                y += ROW;
            }
            y += GAP;
        }
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {0:.0}\" width=\"{WIDTH}\" height=\"{0:.0}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"8\" y=\"20\" font-size=\"15\">{1}</text>\n",
            y + 10.0,
            self.title
        );
        let mut decade = low;
        while decade <= high {
            let (at, value) = (x(10_f64.powf(decade)), 10_f64.powf(decade));
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" y1=\"{:.0}\" x2=\"{at:.1}\" y2=\"{y:.0}\" stroke=\"#ddd\"/>\
                 <text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
                TOP - 10.0,
                TOP - 14.0,
                (self.show)(value)
            );
            decade += 1.0;
        }
        Some(svg + &rows + "</svg>\n")
    }
}

fn mark(rows: &mut String, spread: &Spread, x: &impl Fn(f64) -> f64, y: f64, colour: &str, filled: bool) {
    let (least, median, most) = (x(spread.least), x(spread.median), x(spread.most));
    let fill = if filled { colour } else { "white" };
    let _ = writeln!(
        rows,
        "<line x1=\"{least:.1}\" y1=\"{y:.0}\" x2=\"{most:.1}\" y2=\"{y:.0}\" stroke=\"{colour}\" stroke-width=\"2\"/>\
         <circle cx=\"{median:.1}\" cy=\"{y:.0}\" r=\"4.5\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
    );
}
