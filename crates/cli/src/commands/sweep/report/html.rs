//! The report as one page: no script, nothing that is loaded from elsewhere.

use std::io;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Finding, Report, date};

/// Places that are listed for each finding; the JSON report has all.
const LISTED: usize = 1000;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}\
    table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;\
    vertical-align:top}code{overflow-wrap:anywhere}.bad{color:#a00}summary{cursor:pointer}\
    @media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}th,td{border-color:#444}.bad{color:#f77}}";

pub(super) fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Secrets in " (report.counts.repositories) " repositories" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Secrets in " (report.counts.repositories) " repositories" }
                p { (report.headline()) }
                p { "claviger " (report.version) ", sweep " (report.sweep) ", " (report.started) " to " (report.finished) }
                @if !report.complete { (gaps(report)) }
                (owners(report))
                h2 { "Findings" }
                @if report.findings.is_empty() { p { "None." } } @else { (findings(&report.findings)) }
                h2 { "Repositories" }
                table {
                    tr { th { "Repository" } th { "Status" } th { "Findings" } }
                    @for one in &report.repositories {
                        tr { td { code { (one.name) } } td { (one.status.as_str()) } td { (one.findings) } }
                    }
                }
            }
        }
    };
    out.write_all(page.into_string().as_bytes())
}

fn gaps(report: &Report) -> Markup {
    html! {
        h2 class="bad" { "Not scanned, or not wholly" }
        table {
            tr { th { "Repository" } th { "Why" } }
            @for gap in report.gaps() { tr { td { code { (gap.name) } } td { (gap.why) } } }
        }
    }
}

fn owners(report: &Report) -> Markup {
    html! {
        @if !report.owners.is_empty() {
            h2 { "Owners" }
            table {
                tr { th { "Owner" } th { "New" } th { "Still there" } th { "Gone" } }
                @for (owner, share) in &report.owners {
                    tr {
                        td { @if owner.is_empty() { "nobody" } @else { (owner) } }
                        td { (share.new) } td { (share.still) } td { (share.gone) }
                    }
                }
            }
        }
    }
}

fn findings(findings: &[Finding]) -> Markup {
    html! {
        table {
            tr { th { "" } th { "Severity" } th { "Secret" } th { "Where" } th { "Owners" } }
            @for finding in findings {
                tr {
                    td { (finding.change.as_str()) }
                    td { (finding.severity) }
                    td { (finding.title) br; code { (finding.preview) } br; small { (finding.fingerprint) } }
                    td {
                        details {
                            summary {
                                (finding.repositories.len()) " repositories, " (finding.places().count()) " places"
                                @if !finding.is_in_head() { ", in history only" }
                            }
                            @for (one, spot) in finding.places().take(LISTED) {
                                div {
                                    code { (one.repository) " " (spot.path) ":" (spot.line) }
                                    @if !spot.in_head { " (" (spot.kind) ")" }
                                    @if let Some(time) = spot.time { " " small { (date(time)) } }
                                }
                            }
                        }
                    }
                    td { (finding.owners.join(" ")) }
                }
            }
        }
    }
}
