//! `claviger audit serve`: tiles and checkpoint over HTTP, read-only.

use anyhow::Context as _;
use claviger_audit::serve::answer;

use super::http::{Answer, Server};
use super::name;
use super::place::Place;
use crate::Outcome;
use crate::args_audit::Serve;

pub(super) fn run(args: &Serve) -> anyhow::Result<Outcome> {
    let files = Place::of(&args.dir)?.files(args.origin.as_deref())?;
    files.read("checkpoint").with_context(|| format!("{}: no checkpoint", name(&args.dir)))?;
    let server = Server { listen: args.listen, how: &args.how, most: 0, path: "/checkpoint" };
    server.run(move |request| match request.method {
        "GET" | "HEAD" => {
            let found = answer(&*files, request.path);
            Answer {
                status: found.status,
                content_type: found.content_type,
                cache_control: found.cache_control,
                allow: None,
                body: found.body,
            }
        }
        _ => Answer::wrong_method("GET, HEAD"),
    })?;
    Ok(Outcome::Clean)
}
