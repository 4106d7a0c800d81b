//! The report as one HTML page: no network, no script, light and dark, printable.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::render::{Section, headline, sections};
use super::{Report, chart};
use crate::query::printable;

/// So many rows of a table are shown at once; the rest opens on demand. Printing shows what is open.
const ROWS: usize = 15;
/// A page holds at most so many rows of one table; JSON has them all.
const MOST_ROWS: usize = 1000;

const STYLE: &str = "
:root { color-scheme: light dark; --page: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --panel: #f6f8fa;
  --success: #1f6feb; --refused: #b35900; --failed: #cf222e; --link: #0550ae; }
@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --ink: #e6edf3; --soft: #9ea7b3; --line: #30363d;
  --panel: #161b22; --success: #58a6ff; --refused: #e3923a; --failed: #ff7b72; --link: #79b8ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { margin: .25rem 0; } .soft { color: var(--soft); } code { font-size: .9em; overflow-wrap: anywhere; }
a { color: var(--link); } :focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; } .skip:focus { left: 1rem; top: 1rem; background: var(--page); padding: .5rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; margin: 1rem 0 0; padding: 0; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1.5rem 0; }
dl div { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem; }
dt { color: var(--soft); font-size: .9rem; } dd { margin: 0; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; min-width: 5rem; } th { white-space: nowrap; }
td.time { white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
summary { cursor: pointer; color: var(--link); padding: .5rem 0; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg text.scale { fill: var(--soft); } .grid { stroke: var(--line); } .success { fill: var(--success); }
.refused { fill: var(--refused); } .failed { fill: var(--failed); }
.legend { display: flex; gap: 1.25rem; font-size: .9rem; } .legend svg { width: .8rem; height: .8rem; display: inline-block; }
@media print { :root { --page: #ffffff; --ink: #000000; --soft: #444444; --line: #888888; --panel: #ffffff;
  --success: #1f6feb; --refused: #b35900; --failed: #cf222e; --link: #0550ae; }
  nav, .skip, summary { display: none; } body { max-width: none; padding: 0; font-size: 11px; }
  section { break-inside: auto; } tr, svg { break-inside: avoid; } h2 { break-after: avoid; } }
";

/// The page.
pub fn html(report: &Report) -> String {
    let sections = sections(report);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Nothing may be loaded and nothing may run, whatever an event says.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                link rel="icon" href="data:,";
                title { "Credentials: " (report.origin) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "Skip to the report" }
                header {
                    h1 { "Who held which key: " (printable(&report.origin)) }
                    p.soft {
                        time datetime=(report.from) { (report.from) } " to " time datetime=(report.to) { (report.to) }
                    }
                    p.soft { (report.size) " entries, signed root " code { (report.root) } }
                    nav aria-label="Sections" {
                        ul { @for section in &sections { li { a href={ "#" (section.id) } { (section.title) } } } }
                    }
                }
                main id="content" {
                    dl { @for (name, value) in headline(report) { div { dt { (name) } dd { (value) } } } }
                    section aria-labelledby="over-time" {
                        h2 id="over-time" { "Over time" }
                        (legend())
                        (chart::timeline(&report.timeline))
                    }
                    @for section in &sections { (table(section, report)) }
                }
            }
        }
    }
    .into_string()
}

fn legend() -> Markup {
    let mark = |class: &str| html! { svg viewBox="0 0 8 8" aria-hidden="true" { rect class=(class) width="8" height="8" {} } };
    html! {
        div.legend {
            span { (mark("success")) " granted" }
            span { (mark("refused")) " refused" }
            span { (mark("failed")) " failed" }
        }
    }
}

fn table(section: &Section, report: &Report) -> Markup {
    let (first, rest) = section.rows.split_at(section.rows.len().min(ROWS));
    let kept = &rest[..rest.len().min(MOST_ROWS)];
    html! {
        section aria-labelledby=(section.id) {
            h2 id=(section.id) { (section.title) }
            @if section.rows.is_empty() {
                p.soft { (section.empty) }
            } @else {
                @match section.id {
                    "identities" => (chart::usage("Usage by identity", &report.identities)),
                    "providers" => (chart::usage("Usage by provider", &report.providers)),
                    "environments" => (chart::usage("Usage by environment", &report.environments)),
                    "lengths" => (chart::lengths("Leases by length", &report.lengths)),
                    _ => {}
                }
                (rows(section, first))
                @if !rest.is_empty() {
                    details {
                        summary { (rest.len()) " more" }
                        (rows(section, kept))
                        @if kept.len() < rest.len() {
                            p.soft { (rest.len() - kept.len()) " further rows are in the JSON report." }
                        }
                    }
                }
            }
        }
    }
}

fn rows(section: &Section, rows: &[Vec<String>]) -> Markup {
    let numeric = |column: usize| {
        !rows.is_empty()
            && rows
                .iter()
                .all(|row| !row[column].is_empty() && row[column].bytes().all(|b| b.is_ascii_digit()))
    };
    let is_time = |cell: &str| cell.len() == 20 && cell.ends_with('Z') && cell.as_bytes()[10] == b'T';
    let class = |column: usize| match rows.first() {
        _ if numeric(column) => Some("number"),
        Some(row) if is_time(&row[column]) => Some("time"),
        _ => None,
    };
    let classes: Vec<Option<&str>> = (0..section.columns.len()).map(class).collect();
    html! {
        // A table that scrolls sideways must be reachable by keyboard.
        div.scroll tabindex="0" role="region" aria-label=(section.title) {
            table {
                thead { tr { @for (name, class) in section.columns.iter().zip(&classes) { th scope="col" class=[*class] { (name) } } } }
                tbody {
                    @for row in rows {
                        tr { @for (cell, class) in row.iter().zip(&classes) { td class=[*class] { (printable(cell)) } } }
                    }
                }
            }
        }
    }
}
