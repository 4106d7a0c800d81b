//! Charts as inline SVG. Colours are classes, so that the page's style sheet decides them for light, dark and print.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

use super::{Length, Slot, Usage};

/// Width of every chart in its own units; the page scales it.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 180.0;
/// Room for the scale at the left and the dates below.
const LEFT: f64 = 48.0;
const BELOW: f64 = 22.0;
/// So many names are drawn; the table beside the chart has them all.
const BARS: usize = 12;

/// Successes, refusals and failures over time, stacked.
pub(super) fn timeline(slots: &[Slot]) -> Markup {
    let most = slots.iter().map(|slot| slot.success + slot.refused + slot.failed).max().unwrap_or(0).max(1);
    let (plot, height) = (WIDTH - LEFT, HEIGHT - BELOW - 8.0);
    let step = plot / slots.len().max(1) as f64;
    let mut svg = String::new();
    for share in [0.0, 0.5, 1.0] {
        let y = 8.0 + height * (1.0 - share);
        let value = (most as f64 * share).round();
        put(
            &mut svg,
            format_args!(r#"<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1}" y2="{y:.1}"/>"#),
        );
        put(
            &mut svg,
            format_args!(
                r#"<text class="scale" x="{:.0}" y="{:.1}" text-anchor="end">{value}</text>"#,
                LEFT - 6.0,
                y + 4.0
            ),
        );
    }
    for (n, slot) in slots.iter().enumerate() {
        let x = LEFT + n as f64 * step;
        let wide = (step - 1.0).max(0.6);
        let mut top = 8.0 + height;
        put(
            &mut svg,
            format_args!(
                "<g><title>{}: {} granted, {} refused, {} failed</title>",
                slot.start, slot.success, slot.refused, slot.failed
            ),
        );
        for (class, count) in [("success", slot.success), ("refused", slot.refused), ("failed", slot.failed)]
        {
            let tall = count as f64 / most as f64 * height;
            top -= tall;
            if count > 0 {
                put(
                    &mut svg,
                    format_args!(
                        r#"<rect class="{class}" x="{x:.1}" y="{top:.1}" width="{wide:.1}" height="{tall:.1}"/>"#
                    ),
                );
            }
        }
        svg.push_str("</g>");
    }
    for n in labels(slots.len()) {
        let x = LEFT + (n as f64 + 0.5) * step;
        let day = slots[n].start.get(..10).unwrap_or("");
        put(
            &mut svg,
            format_args!(
                r#"<text class="scale" x="{x:.1}" y="{:.0}" text-anchor="middle">{day}</text>"#,
                HEIGHT - 6.0
            ),
        );
    }
    figure("Requests over time", HEIGHT, &svg)
}

/// Which slots are labelled: at most five, not at the very edge.
fn labels(slots: usize) -> Vec<usize> {
    let step = slots.div_ceil(5).max(1);
    (step / 2..slots).step_by(step).collect()
}

/// Usage as horizontal bars.
pub(super) fn usage(title: &str, all: &[Usage]) -> Markup {
    let bars: Vec<(&str, [u64; 3])> = all
        .iter()
        .take(BARS)
        .map(|usage| {
            (usage.name.as_str(), [usage.issued + usage.renewed + usage.read, usage.refused, usage.failed])
        })
        .collect();
    horizontal(title, &bars)
}

/// Lease lengths as horizontal bars.
pub(super) fn lengths(title: &str, all: &[Length]) -> Markup {
    let bars: Vec<(&str, [u64; 3])> =
        all.iter().map(|length| (length.label.as_str(), [length.count, 0, 0])).collect();
    horizontal(title, &bars)
}

fn horizontal(title: &str, bars: &[(&str, [u64; 3])]) -> Markup {
    const ROW: f64 = 24.0;
    const NAMES: f64 = 230.0;
    const NUMBERS: f64 = 70.0;
    let most = bars.iter().map(|(_, counts)| counts.iter().sum::<u64>()).max().unwrap_or(0).max(1);
    let scale = (WIDTH - NAMES - NUMBERS) / most as f64;
    let mut svg = String::new();
    for (n, (name, counts)) in bars.iter().enumerate() {
        let y = n as f64 * ROW;
        let sum: u64 = counts.iter().sum();
        let short: String = name.chars().take(34).collect();
        let more = if name.chars().count() > 34 { "…" } else { "" };
        put(
            &mut svg,
            format_args!(
                "<g><title>{}: {} granted, {} refused, {} failed</title>",
                escape(name),
                counts[0],
                counts[1],
                counts[2]
            ),
        );
        put(
            &mut svg,
            format_args!(
                r#"<text class="name" x="{:.0}" y="{:.1}" text-anchor="end">{}{more}</text>"#,
                NAMES - 8.0,
                y + 16.0,
                escape(&short)
            ),
        );
        let mut x = NAMES;
        for (class, count) in ["success", "refused", "failed"].into_iter().zip(counts) {
            let wide = *count as f64 * scale;
            if *count > 0 {
                put(
                    &mut svg,
                    format_args!(
                        r#"<rect class="{class}" x="{x:.1}" y="{:.1}" width="{wide:.1}" height="{:.0}"/>"#,
                        y + 4.0,
                        ROW - 8.0
                    ),
                );
            }
            x += wide;
        }
        put(
            &mut svg,
            format_args!(r#"<text class="scale" x="{:.1}" y="{:.1}">{sum}</text></g>"#, x + 6.0, y + 16.0),
        );
    }
    figure(title, bars.len() as f64 * ROW + 4.0, &svg)
}

fn put(svg: &mut String, piece: std::fmt::Arguments<'_>) {
    svg.write_fmt(piece).expect("strings grow");
}

/// `svg` is made of numbers, our own words and escaped names.
fn figure(title: &str, height: f64, svg: &str) -> Markup {
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height:.0}")) role="img" aria-label=(title) {
            (PreEscaped(svg))
        }
    }
}

/// Text for the inside of an SVG element.
fn escape(text: &str) -> String {
    html! { (crate::query::printable(text)) }.into_string()
}
