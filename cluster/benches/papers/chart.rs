//! Draws lines over a logarithmic axis as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 48.0;
/// Distinct for the colour-blind as well (Okabe and Ito).
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#777777", "#e69f00", "#56b4e9", "#000000"];

/// Points of one line; a dashed one is somebody else's.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) dashed: bool,
}

/// A plot.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) file: &'static str,
    pub(crate) title: String,
    /// What is on the horizontal axis, which is logarithmic, and on the vertical one.
    pub(crate) axes: [&'static str; 2],
    pub(crate) lines: Vec<Line>,
}

impl Chart {
    pub(crate) fn draw(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points).filter(|(_, y)| y.is_finite());
        let (least, most) = points().fold((f64::MAX, f64::MIN), |(a, b), (x, _)| (a.min(*x), b.max(*x)));
        let top = points().fold(0.0_f64, |top, (_, y)| top.max(*y)).max(1e-9);
        let step = nice(top / 5.0);
        let top = (top / step).ceil() * step;
        let (low, high) = (least.max(1e-9).log2(), most.max(1e-9).log2());
        let x = |value: f64| LEFT + (value.max(1e-9).log2() - low) / (high - low).max(1e-9) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"8\" y=\"20\" font-size=\"15\">{}</text>\n",
            self.title
        );
        let mut value = 0.0;
        while value <= top + step / 2.0 {
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" y1=\"{0:.1}\" x2=\"{1}\" y2=\"{0:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\" fill=\"#555\">{4}</text>",
                y(value),
                WIDTH - RIGHT,
                LEFT - 6.0,
                y(value) + 4.0,
                tick(value, step)
            );
            value += step;
        }
        let mut marks: Vec<f64> = points().map(|(x, _)| *x).collect();
        marks.sort_by(f64::total_cmp);
        marks.dedup();
        // From the right: the largest group is what one looks for.
        let mut last = f64::MAX;
        for mark in marks.into_iter().rev() {
            if last - x(mark) < 40.0 {
                continue;
            }
            last = x(mark);
            let _ = writeln!(
                svg,
                "<text x=\"{last:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
                HEIGHT - BOTTOM + 16.0,
                count(mark)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{}\" text-anchor=\"middle\">{}</text><text x=\"8\" y=\"{}\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 12.0,
            self.axes[0],
            TOP - 16.0,
            self.axes[1]
        );
        for (number, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let path: Vec<String> = line
                .points
                .iter()
                .filter(|(_, y)| y.is_finite())
                .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
                .collect();
            let dash = if line.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
                path.join(" ")
            );
            for point in &path {
                let (cx, cy) = point.split_once(',').unwrap_or_default();
                let _ = writeln!(svg, "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3\" fill=\"{colour}\"/>");
            }
            let at = TOP + 18.0 * number as f64 + 8.0;
            let _ = writeln!(
                svg,
                "<line x1=\"{0}\" y1=\"{at}\" x2=\"{1}\" y2=\"{at}\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>\
                 <text x=\"{2}\" y=\"{3}\">{4}</text>",
                WIDTH - RIGHT + 12.0,
                WIDTH - RIGHT + 34.0,
                WIDTH - RIGHT + 40.0,
                at + 4.0,
                line.name
            );
        }
        svg + "</svg>\n"
    }
}

/// 1, 2 or 5 times a power of ten, not below `value`.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(10.0 * power)
}

/// As many decimals as the steps between ticks need.
fn tick(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    format!("{value:.decimals$}")
}

/// A number of members, with a comma before thousands.
fn count(value: f64) -> String {
    let value = value.round() as u64;
    if value < 1_000 { value.to_string() } else { format!("{},{:03}", value / 1_000, value % 1_000) }
}
