//! Where reports go: standard output or files, several at once.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use claviger_scanner::report::{Format, Report, Style};

use crate::args::Output;

/// A report to write.
#[derive(Debug)]
pub(super) struct Place<F> {
    pub(super) format: F,
    /// `None` is standard output.
    file: Option<PathBuf>,
}

/// Pairs formats and outputs by their order. A format without an output goes to standard output, an output without a
/// format gets its format from its ending; without either, `usual` is meant. Checked before anything is scanned: nobody
/// wants to learn of a bad path afterwards.
pub(super) fn pair<F>(
    formats: &[String],
    outputs: &[PathBuf],
    usual: &str,
    named: impl Fn(&str) -> Option<F>,
    by_ending: impl Fn(&Path) -> anyhow::Result<F>,
) -> anyhow::Result<Vec<Place<F>>> {
    let named = |name: &str| named(name).with_context(|| format!("no format is called `{name}`"));
    let count = formats.len().max(outputs.len()).max(1);
    let places = (0..count)
        .map(|at| {
            let file = outputs.get(at).filter(|path| *path != Path::new("-")).cloned();
            let format = match (formats.get(at), &file) {
                (Some(name), _) => named(name)?,
                (None, Some(path)) => by_ending(path)?,
                (None, None) => named(usual)?,
            };
            Ok(Place { format, file })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    check(&places)?;
    Ok(places)
}

fn check<F>(places: &[Place<F>]) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    for place in places {
        let Some(file) = &place.file else {
            if !seen.insert(PathBuf::from("-")) {
                bail!("two reports go to standard output; give all but one an --output");
            }
            continue;
        };
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = folder.canonicalize().with_context(|| format!("{}", folder.display()))?;
        let name = file.file_name().with_context(|| format!("{}: no file name", file.display()))?;
        if !seen.insert(folder.join(name)) {
            bail!("two reports go to {}", file.display());
        }
        if file.is_dir() {
            bail!("{}: is a directory", file.display());
        }
    }
    Ok(())
}

impl<F> Place<F> {
    /// Writes the report where it goes.
    pub(super) fn write(
        &self,
        write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        match &self.file {
            Some(path) => write_file(path, write).with_context(|| format!("{}", path.display())),
            None => {
                let mut out = BufWriter::new(io::stdout().lock());
                write(&mut out).and_then(|()| out.flush()).context("standard output")
            }
        }
    }
}

/// The reports of a scan.
#[derive(Debug)]
pub(crate) struct Jobs(Vec<Place<Format>>);

impl Jobs {
    /// See [`pair`].
    pub(crate) fn new(args: &Output) -> anyhow::Result<Self> {
        Ok(Jobs(pair(&args.format, &args.output, "text", Format::named, by_ending)?))
    }

    /// The files that will be written, so that the scan can leave them out.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|job| job.file.as_deref())
    }

    /// Writes all reports.
    pub(crate) fn write(&self, report: &Report, args: &Output) -> anyhow::Result<()> {
        for job in &self.0 {
            let mut style = Style {
                show_secrets: args.show_secrets,
                coverage: args.coverage,
                verbose: args.verbose,
                quiet: args.quiet,
                ..Style::default()
            };
            if job.file.is_none() {
                let is_terminal = io::stdout().is_terminal();
                style.color = is_terminal && !args.no_color && !is_plain();
                style.hyperlinks = style.color;
                style.width = if is_terminal { width() } else { 100 };
            }
            job.write(|out| job.format.write(report, &style, out))?;
        }
        Ok(())
    }
}

/// Whether the environment asks for no colours: `NO_COLOR` with any value but an empty one (no-color.org), or a terminal
/// that has none.
fn is_plain() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Columns of the terminal. `COLUMNS` wins: who exports it means it. Longer lines than 120 are hard to read.
fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let own = || terminal_size::terminal_size().map(|(columns, _)| usize::from(columns.0));
    columns.or_else(own).filter(|n| *n > 0).unwrap_or(80).clamp(40, 120)
}

fn by_ending(path: &Path) -> anyhow::Result<Format> {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let name = match ending {
        "json" => "json",
        "jsonl" | "ndjson" => "jsonl",
        "sarif" => "sarif",
        "csv" => "csv",
        "xml" => "junit",
        "md" => "markdown",
        "txt" | "log" | "" => "text",
        other => bail!("{}: no format is known for `.{other}`; say which with --format", path.display()),
    };
    Format::named(name).with_context(|| format!("no format is called `{name}`"))
}

/// Writes a file of which nobody but its owner learns anything: reports may hold secrets on request, and always
/// say where to look. A report that cannot be finished is removed, so that none looks complete that is not.
pub(super) fn write_file(
    path: &Path,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut out = BufWriter::new(options.open(path)?);
    let result = write(&mut out).and_then(|()| out.flush());
    if result.is_err() && fs::metadata(path).is_ok_and(|meta| meta.is_file()) {
        let _ = fs::remove_file(path);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_report_leaves_no_file() {
        let folder = std::env::temp_dir().join(format!("claviger-writer-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("r.json");
        let failed = write_file(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("disk"))
        });
        assert!(failed.is_err() && !path.exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
