//! Filters: `provider=aws outcome!=success since=2026-11-01 "access denied"`.
//!
//! Terms are joined by *and*. `=` and `!=` compare the whole value, `~` looks for a part of it without regard to case,
//! a bare or quoted word looks anywhere in the entry. Values with spaces are quoted, `\"` and `\\` stand for themselves.

use jiff::Timestamp;
use jiff::civil::Date;

use crate::event::Slim;

/// A field that can be asked for.
pub struct Field {
    /// Its name in a filter.
    pub name: &'static str,
    /// What it is, for help.
    pub about: &'static str,
    /// Is equality answered by the index?
    pub indexed: bool,
    value: for<'a, 'b> fn(&'b Slim<'a>) -> &'b str,
}

/// Every field, in the order of the help.
pub const FIELDS: &[Field] = &[
    field("identity", "the repository, else the subject", true, |e| e.identity()),
    field("issuer", "who issued the token", false, |e| &e.who.issuer),
    field("subject", "the token's subject", true, |e| &e.who.subject),
    field("repository", "the repository or project", true, |e| &e.who.repository),
    field("ref", "the branch or tag", false, |e| &e.who.reference),
    field("workflow", "the workflow or pipeline", false, |e| &e.who.workflow),
    field("job", "the job", false, |e| &e.who.job),
    field("run", "the run's id", true, |e| &e.who.run_id),
    field("actor", "who started the run", true, |e| &e.who.actor),
    field("provider", "the provider", true, |e| &e.target.provider),
    field("environment", "the environment", true, |e| &e.target.environment),
    field("role", "the role", true, |e| &e.target.role),
    field("type", "the type of event", true, |e| &e.kind),
    field("outcome", "success, refused or failed", true, |e| e.outcome.as_str()),
    field("reason", "why", false, |e| &e.reason),
    field("lease", "the lease", true, |e| &e.lease),
    field("correlation", "the request", true, |e| &e.correlation),
    field("source", "the network address", true, |e| &e.source),
    field("fingerprint", "the secret's fingerprint", true, fingerprint),
    field("name", "the static secret's name", true, |e| &e.detail.name),
    field("rule", "the rule that decided or found", false, |e| &e.detail.rule),
];

const fn field(
    name: &'static str,
    about: &'static str,
    indexed: bool,
    value: for<'a, 'b> fn(&'b Slim<'a>) -> &'b str,
) -> Field {
    Field { name, about, indexed, value }
}

fn fingerprint<'b>(event: &'b Slim<'_>) -> &'b str {
    event.fingerprint.as_ref().map_or("", |fingerprint| &fingerprint.mac)
}

impl Field {
    /// The event's value; empty if it has none.
    pub fn of<'b>(&self, event: &'b Slim<'_>) -> &'b str {
        (self.value)(event)
    }
}

/// Why a filter is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {why}")]
pub struct FilterError {
    /// Counted from 1, in characters of the filter.
    pub position: usize,
    /// What is wrong, and what would be right.
    pub why: String,
}

/// How a term compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// The same.
    Equal,
    /// Not the same.
    Unequal,
    /// Contains, without regard to ASCII case.
    Contains,
}

/// One condition on a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Its place in [`FIELDS`].
    pub field: usize,
    /// How to compare.
    pub op: Op,
    /// With what.
    pub value: String,
}

/// Which events are wanted. The default wants all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Before, in milliseconds since 1970.
    pub until_ms: Option<i64>,
    /// Conditions that must all hold.
    pub terms: Vec<Term>,
    /// Texts that must all be in the entry, in lower case.
    pub texts: Vec<String>,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// See [`FilterError`].
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        let chars: Vec<char> = text.chars().collect();
        let mut parser = Parser { chars: &chars, at: 0 };
        let mut filter = Filter::default();
        while parser.skip_spaces() {
            parser.term(&mut filter)?;
        }
        Ok(filter)
    }

    /// Adds a condition by the field's name, as a flag of the command line would.
    ///
    /// # Errors
    /// There is no such field, or a time is not one. The position is 1.
    pub fn with(mut self, field: &str, op: Op, value: &str) -> Result<Filter, FilterError> {
        self.add(field, op, value.to_owned(), 0, 0)?;
        Ok(self)
    }

    fn add(
        &mut self,
        name: &str,
        op: Op,
        value: String,
        at: usize,
        value_at: usize,
    ) -> Result<(), FilterError> {
        let bound = match name {
            "since" => &mut self.since_ms,
            "until" => &mut self.until_ms,
            _ => {
                let known =
                    |field: &Field| field.name == name || field.name.starts_with(name) && name.len() > 2;
                let field = FIELDS.iter().position(known).ok_or_else(|| unknown(name, at))?;
                self.terms.push(Term { field, op, value });
                return Ok(());
            }
        };
        if op != Op::Equal {
            return Err(error(at, format!("`{name}` takes `=` only")));
        }
        let time = parse_time(&value).ok_or_else(|| {
            error(value_at, format!("`{value}` is no time; write 2026-11-24 or 2026-11-24T10:00:00Z"))
        })?;
        *bound = Some(time);
        Ok(())
    }

    /// Does an entry match? What is no event matches only a filter without conditions on fields and time.
    pub fn matches(&self, entry: &[u8]) -> bool {
        if !self.texts.iter().all(|text| contains(entry, text.as_bytes())) {
            return false;
        }
        if self.terms.is_empty() && self.since_ms.is_none() && self.until_ms.is_none() {
            return true;
        }
        Slim::parse(entry).is_some_and(|event| self.fits(&event))
    }

    /// Do the conditions on fields and time hold?
    pub fn fits(&self, event: &Slim<'_>) -> bool {
        let terms = self.terms.iter().all(|term| {
            let value = FIELDS[term.field].of(event);
            match term.op {
                Op::Equal => value == term.value,
                Op::Unequal => value != term.value,
                Op::Contains => contains(value.as_bytes(), term.value.to_ascii_lowercase().as_bytes()),
            }
        });
        terms && (self.since_ms.is_none() && self.until_ms.is_none() || self.is_in_time(event.time_ms()))
    }

    fn is_in_time(&self, time: i64) -> bool {
        self.since_ms.is_none_or(|since| time >= since) && self.until_ms.is_none_or(|until| time < until)
    }
}

/// `needle` is in lower case.
fn contains(hay: &[u8], needle: &[u8]) -> bool {
    needle.is_empty()
        || hay.len() >= needle.len()
            && hay.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

/// A day, which begins in UTC, or an instant.
fn parse_time(text: &str) -> Option<i64> {
    let instant = text.parse::<Timestamp>().ok();
    let day = || text.parse::<Date>().ok().and_then(|day| format!("{day}T00:00:00Z").parse().ok());
    instant.or_else(day).map(Timestamp::as_millisecond)
}

fn error(at: usize, why: impl Into<String>) -> FilterError {
    FilterError { position: at + 1, why: why.into() }
}

fn unknown(name: &str, at: usize) -> FilterError {
    let names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
    error(at, format!("there is no field `{name}`; there are since, until, {}", names.join(", ")))
}

struct Parser<'a> {
    chars: &'a [char],
    at: usize,
}

impl Parser<'_> {
    /// Is there another term?
    fn skip_spaces(&mut self) -> bool {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        self.at < self.chars.len()
    }

    fn term(&mut self, filter: &mut Filter) -> Result<(), FilterError> {
        let start = self.at;
        if self.chars[self.at] == '"' {
            filter.texts.push(self.quoted()?.to_ascii_lowercase());
            return Ok(());
        }
        let name = self.until(|c| c.is_whitespace() || "=!~\"".contains(c));
        let op = match (self.chars.get(self.at), self.chars.get(self.at + 1)) {
            (Some('='), _) => Op::Equal,
            (Some('~'), _) => Op::Contains,
            (Some('!'), Some('=')) => Op::Unequal,
            (Some('!' | '"'), _) => return Err(error(self.at, "expected `=`, `!=`, `~` or a space")),
            _ => {
                filter.texts.push(name.to_ascii_lowercase());
                return Ok(());
            }
        };
        if name.is_empty() {
            return Err(error(start, "expected the name of a field before the comparison"));
        }
        self.at += if op == Op::Unequal { 2 } else { 1 };
        let value_at = self.at;
        let value = match self.chars.get(self.at) {
            Some('"') => self.quoted()?,
            Some(c) if !c.is_whitespace() => self.until(char::is_whitespace),
            _ => return Err(error(value_at, "expected a value; write \"\" for an empty one")),
        };
        filter.add(&name, op, value, start, value_at)
    }

    fn until(&mut self, end: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.chars.get(self.at).is_some_and(|c| !end(*c)) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn quoted(&mut self) -> Result<String, FilterError> {
        let open = self.at;
        let mut value = String::new();
        loop {
            self.at += 1;
            match self.chars.get(self.at) {
                None => return Err(error(open, "this quote is not closed")),
                Some('"') => break,
                Some('\\') => {
                    self.at += 1;
                    match self.chars.get(self.at) {
                        Some(c @ ('"' | '\\')) => value.push(*c),
                        _ => return Err(error(self.at, "expected `\"` or `\\` after `\\`")),
                    }
                }
                Some(c) => value.push(*c),
            }
        }
        self.at += 1;
        Ok(value)
    }
}
