//! Repositories as a host lists them: GitHub's organisations and users, GitLab's groups.
//!
//! The token goes to the host that was named and to no other: redirects are not followed, and a next page is asked for
//! only where the first one was.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use claviger_scanner::path::printable;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::list;
use super::mirror::Access;
use super::model::Target;
use super::shown;
use crate::commands::net::{Answer, Net};

/// Most pages of a listing; a million repositories.
const MAX_PAGES: usize = 10_000;
/// Largest page in bytes.
const MAX_PAGE: usize = 64 * 1024 * 1024;
/// A page must be there after this time.
const PAGE_TIME: Duration = Duration::from_secs(60);
/// How often a page is asked for before the listing fails.
const TRIES: u32 = 6;
/// Longest wait for a rate limit; GitHub's hour and a little more.
const MAX_WAIT: Duration = Duration::from_secs(65 * 60);

/// Which host's words are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    GitHub,
    GitLab,
}

/// A host with its API.
pub(super) struct Forge {
    kind: Kind,
    base: Url,
    token: Option<Zeroizing<String>>,
    net: Net,
    /// First wait before an answer of 500 is asked for again; it doubles.
    backoff: Duration,
}

/// What is left out of a listing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filter {
    pub(super) no_archived: bool,
    pub(super) no_forks: bool,
}

/// A repository as either host describes it.
#[derive(Deserialize)]
struct Listed {
    #[serde(alias = "http_url_to_repo")]
    clone_url: String,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    fork: bool,
    #[serde(default)]
    forked_from_project: Option<serde::de::IgnoredAny>,
}

impl Forge {
    /// `base` is the API's URL.
    pub(super) fn new(kind: Kind, base: &str, token: Option<Zeroizing<String>>) -> anyhow::Result<Forge> {
        let base = Url::parse(base.trim_end_matches('/'))
            .with_context(|| format!("`{}`", printable(base.as_bytes())))?;
        let is_here = matches!(base.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if base.scheme() != "https" && !(base.scheme() == "http" && is_here) {
            bail!("{base}: the API must be an https URL");
        }
        let net = Net::patient(PAGE_TIME)?;
        Ok(Forge { kind, base, token, net, backoff: Duration::from_secs(1) })
    }

    /// What lets git in where the token does.
    pub(super) fn access(&self) -> Option<Access> {
        let token = self.token.as_ref()?;
        let host = match (self.kind, self.base.host_str()?) {
            (Kind::GitHub, "api.github.com") => "github.com",
            (_, host) => host,
        };
        let port = self.base.port().map(|port| format!(":{port}")).unwrap_or_default();
        let user = if self.kind == Kind::GitHub { "x-access-token" } else { "oauth2" };
        let pair = Zeroizing::new(format!("{user}:{}", token.as_str()));
        let pair = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(pair.as_bytes()));
        let header = Zeroizing::new(format!("Authorization: Basic {}", pair.as_str()));
        Some(Access { base: format!("{}://{host}{port}/", self.base.scheme()), header })
    }

    /// The repositories of an organisation or user, or the projects of a group and its subgroups.
    pub(super) fn list(&self, owner: &str, filter: Filter) -> anyhow::Result<Vec<Target>> {
        let first = self.first(if self.kind == Kind::GitHub { "orgs" } else { "groups" }, owner, filter)?;
        let mut page = match (self.page(&first)?, self.kind) {
            // What is no organisation may be a user.
            (None, Kind::GitHub) => self.page(&self.first("users", owner, filter)?)?,
            (page, _) => page,
        };
        let mut targets = Vec::new();
        for _ in 0..MAX_PAGES {
            let Some((listed, next)) = page else { bail!("not there, or the token does not reach it") };
            for one in listed {
                let is_fork = one.fork || one.forked_from_project.is_some();
                if (filter.no_archived && one.archived) || (filter.no_forks && is_fork) {
                    continue;
                }
                // A host must not name files of this machine, nor a way that is less safe than its own.
                let is_alike = one
                    .clone_url
                    .split_once("://")
                    .is_some_and(|(s, _)| s == "https" || s == self.base.scheme());
                anyhow::ensure!(is_alike, "the host lists a repository with no https URL");
                targets.push(list::url(&one.clone_url).context("the host lists a repository")?);
            }
            let Some(next) = next else { return Ok(targets) };
            page = self.page(&next)?;
        }
        bail!("more than {MAX_PAGES} pages")
    }

    fn first(&self, kind: &str, owner: &str, filter: Filter) -> anyhow::Result<Url> {
        let mut url = self.base.clone();
        let what = if self.kind == Kind::GitHub { "repos" } else { "projects" };
        // A slash in a group's path is a part of its name.
        url.path_segments_mut().ok().context("a URL without a path")?.extend([kind, owner, what]);
        let mut query = url.query_pairs_mut();
        query.append_pair("per_page", "100");
        if self.kind == Kind::GitLab {
            query.append_pair("include_subgroups", "true").append_pair("with_shared", "false");
            if filter.no_archived {
                query.append_pair("archived", "false");
            }
        }
        drop(query);
        Ok(url)
    }

    /// A page and the address of the next one; `None` for an answer of 404.
    fn page(&self, url: &Url) -> anyhow::Result<Option<(Vec<Listed>, Option<Url>)>> {
        let mut backoff = self.backoff;
        for tries in 1.. {
            let (why, wait) = match self.ask(url) {
                Ok(Answer { status: StatusCode::OK, headers, body }) => {
                    let listed =
                        serde_json::from_slice(&body).context("the answer is no list of repositories")?;
                    return Ok(Some((listed, self.next(&headers)?)));
                }
                Ok(Answer { status: StatusCode::NOT_FOUND, .. }) => return Ok(None),
                Ok(Answer { status, headers, .. }) => {
                    let wait = match limited(status, &headers) {
                        Some(wait) => wait.max(backoff),
                        None if status.is_server_error() => backoff,
                        None => bail!("the host answers {status}{}", hint(status)),
                    };
                    (format!("the host answers {status}"), wait)
                }
                Err(e) => (format!("{e:#}"), backoff),
            };
            if tries >= TRIES || wait > MAX_WAIT {
                bail!("{why}, {tries} times");
            }
            std::thread::sleep(wait);
            backoff *= 2;
        }
        bail!("no answer")
    }

    fn ask(&self, url: &Url) -> anyhow::Result<Answer> {
        let mut request = self.net.client().get(url.clone());
        if let Some(token) = &self.token {
            let (name, text) = match self.kind {
                Kind::GitHub => ("authorization", Zeroizing::new(format!("Bearer {}", token.as_str()))),
                Kind::GitLab => ("private-token", token.clone()),
            };
            let mut value =
                HeaderValue::from_str(&text).ok().context("the token holds what no header can")?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        self.net.ask(request, MAX_PAGE)
    }

    /// The next page, as the header Link names it (RFC 8288). It must be of the same host.
    fn next(&self, headers: &HeaderMap) -> anyhow::Result<Option<Url>> {
        let links = headers.get_all("link").iter().filter_map(|value| value.to_str().ok());
        let next = links
            .flat_map(|value| value.split(','))
            .find(|link| link.contains("rel=\"next\"") || link.contains("rel=next"));
        let Some(next) = next else { return Ok(None) };
        let address = next.trim().strip_prefix('<').and_then(|link| link.split_once('>'));
        let (address, _) = address.context("a Link header that cannot be read")?;
        let url = self.base.join(address).context("a Link header that is no URL")?;
        anyhow::ensure!(
            url.origin() == self.base.origin(),
            "the next page is on another host; it was not asked for"
        );
        Ok(Some(url))
    }
}

/// How long to wait, if the answer is about a rate limit.
fn limited(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let is_used_up = number("x-ratelimit-remaining") == Some(0);
    let after = number("retry-after").map(Duration::from_secs);
    let is_limit = status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::FORBIDDEN && (after.is_some() || is_used_up);
    if !is_limit {
        return None;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let reset = number("x-ratelimit-reset").or_else(|| number("ratelimit-reset"));
    let until = reset.filter(|_| is_used_up).map(|at| Duration::from_secs(at.saturating_sub(now) + 1));
    Some(after.or(until).unwrap_or(Duration::ZERO))
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => ": the token is not valid, or there is none",
        StatusCode::FORBIDDEN => ": the token does not reach this",
        status if status.is_redirection() => ": it was renamed or moved; redirects are not followed",
        _ => "",
    }
}

/// A token out of a file, or of a variable. Never out of an argument, which every user of the machine can read.
pub(super) fn token(file: Option<&Path>, variable: &str) -> anyhow::Result<Option<Zeroizing<String>>> {
    let text = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| shown(path))?;
            Some(Zeroizing::new(text))
        }
        None => std::env::var(variable).ok().map(Zeroizing::new),
    };
    let text = text.map(|text| Zeroizing::new(text.trim().to_owned()));
    Ok(text.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// A host that gives these answers, one a connection; the requests it got.
    fn host(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let at = base.clone();
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let mut request = String::new();
                for line in lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                    request += &format!("{line}\n");
                }
                asked.push(request);
                stream.write_all(answer.replace("BASE", &at).as_bytes()).unwrap();
            }
            asked
        });
        (base, thread)
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn forge(kind: Kind, base: &str) -> Forge {
        let token = Some(Zeroizing::new("t".repeat(9)));
        Forge { backoff: Duration::from_millis(1), ..Forge::new(kind, base, token).unwrap() }
    }

    #[test]
    fn pages_are_followed_and_limits_are_waited_for() {
        let one = r#"[{"clone_url":"https://example.org/a/1.git","archived":true},{"clone_url":"https://example.org/a/2.git","fork":true},{"clone_url":"https://example.org/a/3.git"}]"#;
        let two = r#"[{"clone_url":"https://example.org/a/4.git","unknown":{}}]"#;
        let (base, thread) = host(vec![
            answer("429 Too Many", "retry-after: 0\r\n", ""),
            answer("500 Oops", "", "x"),
            answer(
                "200 OK",
                "link: <BASE/orgs/a/repos?page=1>; rel=\"prev\", <BASE/p2>; rel=\"next\"\r\n",
                one,
            ),
            answer("403 Forbidden", "x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 1\r\n", ""),
            answer("200 OK", "", two),
        ]);
        let filter = Filter { no_archived: true, no_forks: true };
        let targets = forge(Kind::GitHub, &base).list("a", filter).unwrap();
        let names: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["https://example.org/a/3", "https://example.org/a/4"]);
        let asked = thread.join().unwrap();
        assert!(asked[0].starts_with("GET /orgs/a/repos?per_page=100 "), "{}", asked[0]);
        assert!(asked[4].starts_with("GET /p2 ") && asked[4].contains("authorization: Bearer ttt"));
    }

    #[test]
    fn a_user_is_no_organisation_and_groups_have_slashes() {
        let (base, thread) = host(vec![answer("404 No", "", ""), answer("200 OK", "", "[]")]);
        assert!(forge(Kind::GitHub, &base).list("me", Filter::default()).unwrap().is_empty());
        assert!(thread.join().unwrap()[1].starts_with("GET /users/me/repos"));
        let body = r#"[{"http_url_to_repo":"https://example.org/g/s/p.git","forked_from_project":{"id":1}}]"#;
        let (base, thread) = host(vec![answer("200 OK", "", body)]);
        let targets = forge(Kind::GitLab, &format!("{base}/api/v4")).list("g/s", Filter::default()).unwrap();
        assert_eq!(targets[0].name, "https://example.org/g/s/p");
        let asked = &thread.join().unwrap()[0];
        assert!(
            asked.starts_with("GET /api/v4/groups/g%2Fs/projects?") && asked.contains("private-token: ttt")
        );
    }

    #[test]
    fn the_token_goes_nowhere_else() {
        let away = "link: <http://127.0.0.1:1/p2>; rel=\"next\"\r\n";
        let cases = [
            (vec![answer("200 OK", away, "[]")], "another host"),
            (
                vec![answer("302 Found", "location: http://127.0.0.1:1/\r\n", "")],
                "redirects are not followed",
            ),
            (vec![answer("401 No", "", "")], "not valid"),
            (vec![answer("200 OK", "", "{}")], "no list"),
            (vec![answer("200 OK", "", r#"[{"clone_url":"file:///etc"}]"#)], "no https URL"),
            ((0..TRIES).map(|_| answer("503 No", "", "")).collect(), "6 times"),
            ((0..2).map(|_| answer("404 No", "", "")).collect(), "not there"),
        ];
        for (answers, want) in cases {
            let (base, thread) = host(answers);
            let error = format!("{:#}", forge(Kind::GitHub, &base).list("a", Filter::default()).unwrap_err());
            assert!(error.contains(want) && !error.contains("ttt"), "{error}");
            thread.join().unwrap();
        }
        assert!(Forge::new(Kind::GitHub, "http://example.org", None).is_err());
        let access = Forge::new(Kind::GitHub, "https://api.github.com", Some(Zeroizing::new("t".to_owned())));
        assert_eq!(access.unwrap().access().unwrap().base, "https://github.com/");
    }
}
