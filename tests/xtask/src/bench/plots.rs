//! The figures as pictures, in SVG, drawn from what was measured.

use std::fmt::Display;

use anyhow::{Result, anyhow};
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::report::{Results, Unit, number};

/// A file of `docs/reference/`, what it shows in words, and its text.
pub(super) struct Plot {
    pub(super) file: &'static str,
    pub(super) title: &'static str,
    pub(super) svg: String,
}

/// Who is drawn, in which colour. Each is told from the others and from the page in light and in dark.
const CONTESTANTS: [(&str, RGBColor); 3] = [
    ("LXC", RGBColor(0xc9, 0x70, 0x2b)),
    ("systemd-nspawn", RGBColor(0x8a, 0x6f, 0xc8)),
    ("Tenantry", RGBColor(0x2b, 0x8c, 0xa8)),
];
/// Lines and, where a page knows no style sheets, letters.
const INK: RGBColor = RGBColor(0x80, 0x80, 0x80);
/// Style sheets go before attributes, and follow the reader's choice even where the picture is only embedded.
const STYLE: &str =
    "<style>text{fill:#24292f}@media (prefers-color-scheme:dark){text{fill:#d0d7de}}</style>\n";
/// Pixels.
const WIDTH: u32 = 760;
const ROW: i32 = 30;
const NAMES: i32 = 170;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// All pictures for which there are figures.
pub(super) fn all(results: &Results) -> Result<Vec<Plot>> {
    let plots = [
        ("benchmarks-boot.svg", "From the command to multi-user", boots(results)?),
        ("benchmarks-memory.svg", "Memory of each of N idle systems", memory(results)?),
    ];
    let drawn = plots.into_iter().filter_map(|(file, title, svg)| Some(Plot { file, title, svg: svg? }));
    Ok(drawn.collect())
}

/// What `draw` draws; a background is the page's.
fn picture(height: u32, draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        draw(&area)?;
        area.present().map_err(drawing)?;
    }
    let begin = svg.find('>').map_or(0, |end| end + 1);
    svg.insert_str(begin, &format!("\n{STYLE}"));
    Ok(svg)
}

fn drawing(error: impl Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), anchor: HPos) -> Result<()> {
    let style = ("sans-serif", 14).into_font().color(&INK).pos(Pos::new(anchor, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(drawing)
}

/// A bar for each system that was booted: what passes until its init runs, and its own boot.
fn boots(results: &Results) -> Result<Option<String>> {
    let mut bars = Vec::new();
    for image in ["stock", "tuned"] {
        for (who, colour) in CONTESTANTS {
            let value = |what| results.median(what, who, image);
            if let (Some(all), Some(exec)) = (value("start to multi-user"), value("start to exec")) {
                bars.push((format!("{who}, {image}"), colour, exec.min(all), all));
            }
        }
    }
    let longest = bars.iter().map(|(.., all)| *all).fold(0.0, f64::max);
    if longest <= 0.0 {
        return Ok(None);
    }
    let scale = f64::from(WIDTH as i32 - NAMES - 100) / longest;
    let height = (bars.len() as i32 + 1) * ROW + 10;
    picture(height.unsigned_abs(), |area| {
        for (row, (name, colour, exec, all)) in bars.iter().enumerate() {
            let top = row as i32 * ROW + 6;
            let [begin, end] = [exec, all].map(|time| NAMES + (time * scale).round() as i32);
            let bar = |from, to, style: ShapeStyle| {
                area.draw(&Rectangle::new([(from, top), (to, top + ROW - 10)], style)).map_err(drawing)
            };
            bar(NAMES, begin, colour.filled())?;
            bar(begin, end, colour.mix(0.45).filled())?;
            let middle = top + ROW / 2 - 5;
            write(area, name, (NAMES - 8, middle), HPos::Right)?;
            write(area, &format!("{} ms", number(Some(*all))), (end + 8, middle), HPos::Left)?;
        }
        let note = "dark: from the command until its init runs; light: its own boot";
        write(area, note, (NAMES, height - ROW / 2), HPos::Left)
    })
    .map(Some)
}

/// A line for each contestant over the tuned image, by the number of its systems.
fn memory(results: &Results) -> Result<Option<String>> {
    let lines = CONTESTANTS.map(|(who, colour)| (who, colour, memory_of(results, who)));
    let points = || lines.iter().flat_map(|(.., points)| points);
    let most = points().map(|(_, memory)| *memory).fold(0.0, f64::max);
    let largest = points().map(|(count, _)| *count).fold(0.0, f64::max);
    let smallest = points().map(|(count, _)| *count).fold(f64::INFINITY, f64::min);
    if largest <= smallest {
        return Ok(None);
    }
    picture(320, |area| {
        let mut builder = ChartBuilder::on(area);
        builder.margin(10).margin_right(140).x_label_area_size(40).y_label_area_size(60);
        let across = (smallest..largest).log_scale();
        let mut chart = builder.build_cartesian_2d(across, 0.0..most * 1.15).map_err(drawing)?;
        let font = ("sans-serif", 14).into_font().color(&INK);
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().light_line_style(TRANSPARENT).bold_line_style(INK.mix(0.3)).axis_style(INK);
        mesh.label_style(font.clone()).axis_desc_style(font.clone());
        mesh.x_desc("systems").y_desc("MiB each").x_labels(6).y_labels(6);
        mesh.x_label_formatter(&|count| format!("{count:.0}"))
            .y_label_formatter(&|memory| format!("{memory}"));
        mesh.draw().map_err(drawing)?;
        for (who, colour, points) in lines.iter().filter(|(.., points)| !points.is_empty()) {
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))
                .map_err(drawing)?;
            let dots = points.iter().map(|point| Circle::new(*point, 4, colour.filled()));
            chart.draw_series(dots).map_err(drawing)?;
            let (count, memory) = points[points.len() - 1];
            let at = chart.backend_coord(&(count, memory));
            let text = format!("{who} {}", number(Some(memory)));
            write(area, &text, (at.0 + 10, at.1), HPos::Left)?;
        }
        Ok(())
    })
    .map(Some)
}

/// MiB for each system by how many there are, the fewest first.
fn memory_of(results: &Results, who: &str) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = results
        .medians()
        .filter(|(figure, _)| figure.who == who && figure.image == "tuned" && figure.unit == Unit::Mebibytes)
        .filter_map(|(figure, memory)| Some((count_of(&figure.what)?, memory)))
        .collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    points
}

/// Of how many systems a figure is the memory of each.
fn count_of(what: &str) -> Option<f64> {
    let crowd = what.strip_prefix("memory per system, ").and_then(|rest| rest.strip_suffix(" idle"));
    crowd.or_else(|| what.strip_suffix(" tenants: memory of each"))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{machine::Machine, report::Figure},
        *,
    };

    fn results() -> Results {
        let mut results = Results::new(Machine::look());
        let mut add =
            |what: &str, unit, who: &str, value| results.add(Figure::new(what, unit, who, "tuned"), value);
        for (who, exec, all) in [("LXC", 20.0, 100.0), ("Tenantry", 10.0, 50.0)] {
            add("start to exec", Unit::Milliseconds, who, exec);
            add("start to multi-user", Unit::Milliseconds, who, all);
            add("memory per system, 20 idle", Unit::Mebibytes, who, 2.7);
            add("memory per system, 100 idle", Unit::Mebibytes, who, 3.0);
        }
        add("1000 tenants: memory of each", Unit::Mebibytes, "Tenantry", 2.9);
        results
    }

    /// The widths of the rectangles of a picture.
    fn widths(svg: &str) -> Vec<u32> {
        let widths = svg.split("<rect ").skip(1).filter_map(|rect| rect.split("width=\"").nth(1));
        widths.filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
    }

    #[test]
    fn a_bar_is_as_long_as_what_was_measured() {
        let svg = boots(&results()).unwrap().unwrap();
        let [lxc_exec, lxc_rest, own_exec, own_rest] = widths(&svg)[..] else { panic!("{svg}") };
        assert_eq!((lxc_exec, own_exec), (2 * own_exec, own_exec));
        assert_eq!(lxc_exec + lxc_rest, 2 * (own_exec + own_rest));
        for text in ["LXC, tuned", "Tenantry, tuned", "100 ms", "50.0 ms"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }

    #[test]
    fn the_memory_of_a_thousand_is_on_the_line_of_the_crowds() {
        assert_eq!(memory_of(&results(), "Tenantry"), [(20.0, 2.7), (100.0, 3.0), (1000.0, 2.9)]);
        let svg = memory(&results()).unwrap().unwrap();
        assert!(svg.contains("Tenantry 2.90") && svg.contains("LXC 3.00"), "{svg}");
        assert_eq!(svg.matches("<circle ").count(), 5);
    }

    #[test]
    fn letters_are_dark_on_light_pages_and_light_on_dark_ones() {
        for plot in all(&results()).unwrap() {
            assert!(plot.svg.starts_with("<svg ") && plot.svg.contains(STYLE), "{}", plot.svg);
            assert!(!plot.svg.contains("#000000"), "{}: ink of a fixed colour", plot.file);
        }
    }

    #[test]
    fn nothing_is_drawn_of_what_was_not_measured() {
        assert!(all(&Results::new(Machine::look())).unwrap().is_empty());
    }
}
