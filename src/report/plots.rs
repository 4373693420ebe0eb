//! Plots as SVG. Black becomes the page's text colour, so that they read on light and dark.

use plotters::prelude::*;

/// Colours that can be told apart with any colour vision (Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(128, 128, 128),
    RGBColor(0, 0, 0),
];

/// A named line.
pub struct Line {
    /// What stands beside it.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// A value with an interval and the values it is the mean of.
pub struct Interval {
    /// What stands beside it.
    pub name: String,
    /// The value.
    pub value: f64,
    /// The interval.
    pub range: (f64, f64),
    /// Single values.
    pub values: Vec<f64>,
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Width of a plot; text of size `TEXT` still reads where a telephone shrinks it to its screen.
const WIDTH: u32 = 560;
const TEXT: (&str, u32) = ("sans-serif", 16);

/// Draws on a transparent canvas.
fn svg(height: u32, draw: impl FnOnce(&DrawingArea<SVGBackend, plotters::coord::Shift>) -> Drawn) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        // A plot that cannot be drawn (no finite value) is left out of the report.
        if draw(&area).and_then(|()| Ok(area.present()?)).is_err() {
            return String::new();
        }
    }
    text.replace("#000000", "currentColor")
}

fn range(values: impl Iterator<Item = f64> + Clone) -> std::ops::Range<f64> {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    let margin = ((high - low) * 0.08).max(1e-3);
    low - margin..high + margin
}

/// Dots with intervals, one a row, and a line at zero.
pub fn intervals(rows: &[Interval], label: &str) -> String {
    let all = rows.iter().flat_map(|r| r.values.iter().copied().chain([r.range.0, r.range.1, 0.0]));
    let x = range(all);
    let n = rows.len() as f64;
    svg(80 + 40 * rows.len() as u32, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(90)
            .build_cartesian_2d(x.clone(), 0.0..n)?;
        let name = |y: &f64| {
            let row = n - y - 0.5;
            let whole = (row - row.round()).abs() < 1e-6 && row >= 0.0;
            whole.then(|| rows.get(row.round() as usize).map(|r| r.name.clone())).flatten().unwrap_or_default()
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(2 * rows.len() + 1)
            .y_label_formatter(&name)
            .x_desc(label)
            .label_style(TEXT)
            .axis_desc_style(TEXT)
            .light_line_style(TRANSPARENT)
            .draw()?;
        chart.draw_series(std::iter::once(PathElement::new(vec![(0.0, 0.0), (0.0, n)], BLACK.stroke_width(1))))?;
        for (i, row) in rows.iter().enumerate() {
            let y = n - i as f64 - 0.5;
            let colour = COLOURS[i % COLOURS.len()];
            let bar = vec![(row.range.0, y), (row.range.1, y)];
            chart.draw_series(std::iter::once(PathElement::new(bar, colour.stroke_width(3))))?;
            chart.draw_series(row.values.iter().map(|v| Circle::new((*v, y - 0.22), 3, colour.filled())))?;
            chart.draw_series(std::iter::once(Circle::new((row.value, y), 7, colour.filled())))?;
        }
        Ok(())
    })
}

/// Lines over a common axis; with `log_x` the horizontal axis is logarithmic and shows values from `log_x` to 1.
pub fn lines(lines: &[Line], labels: (&str, &str), log_x: Option<f64>) -> String {
    let shown = |x: f64| log_x.map_or(x, |low| x.max(low).log10());
    let points = lines.iter().flat_map(|l| l.points.iter());
    let x = match log_x {
        Some(low) => low.log10()..0.0,
        None => range(points.clone().map(|p| p.0)),
    };
    let y = if log_x.is_some() { 0.0..1.02 } else { range(points.map(|p| p.1)) };
    svg(360, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(48)
            .y_label_area_size(70)
            .build_cartesian_2d(x.clone(), y.clone())?;
        let tick = |v: &f64| if log_x.is_some() { format!("{:.0e}", 10f64.powf(*v)) } else { format!("{v:.0}") };
        chart
            .configure_mesh()
            .x_labels(5)
            .x_label_formatter(&tick)
            .x_desc(labels.0)
            .y_desc(labels.1)
            .label_style(TEXT)
            .axis_desc_style(TEXT)
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15))
            .draw()?;
        for (i, line) in lines.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let points = line.points.iter().map(|(x, y)| (shown(*x), *y));
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(line.name.clone())
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(3)));
        }
        let at = if log_x.is_some() { SeriesLabelPosition::LowerRight } else { SeriesLabelPosition::UpperRight };
        chart.configure_series_labels().position(at).label_font(TEXT).border_style(TRANSPARENT).draw()?;
        Ok(())
    })
}
