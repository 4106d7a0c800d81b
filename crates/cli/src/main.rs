//! TEMP
#![allow(clippy::print_stdout)]
use claviger_scanner::{engine::*, rule, rule::*, scan::*, source::tree, coverage::*, fingerprint::*};
use std::path::Path;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut it = args.iter().skip(1);
    let verb: Vec<&str> = it.by_ref().take_while(|a| *a != "--rules").map(|s| s.as_str()).collect();
    let files: Vec<&String> = it.filter(|a| *a != "--rules").collect();
    let mut rules = Vec::new();
    for f in &files {
        match rule::read(Path::new(f)) { Ok(r) => rules.extend(r), Err(e) => { println!("ERROR {e}"); std::process::exit(2) } }
    }
    match verb.as_slice() {
        ["rules", "check"] => { let l = lint(&rules); for x in &l { println!("{}: {}", x.rule, x.message); } println!("{} rules, {} lints", rules.len(), l.len()); }
        ["rules", "test"] => { let o = run_examples(&rules).unwrap(); let mut bad = 0; for x in &o { if let Err(e) = &x.result { bad += 1; println!("{}: example `{}`: {e}", x.rule, x.template); } } println!("{} examples, {} failed", o.len(), bad); }
        ["scan", path] => {
            let set = if rules.is_empty() { RuleSet::builtin() } else { RuleSet::new(rules).unwrap() };
            let e = Engine::new(set).unwrap();
            let h = tree::scan(Path::new(path), path, &e, &tree::TreeOptions{threads:2,..Default::default()}, &Monitor::default()).unwrap();
            println!("files {} bytes {}", h.coverage.files, h.coverage.bytes);
            let least = if std::env::var("ALL").is_ok() { Confidence::Low } else { Confidence::Medium };
            let (f, hidden) = group(&e, h.sightings, &Fingerprinter::salted(None), least);
            for x in &f { let p = x.place(); println!("{}:{}:{} {} {} {}", p.path, p.line, p.column, x.rule.id, x.confidence, p.excerpt); }
            println!("{} findings {} hidden", f.len(), hidden); let _ : Option<Coverage> = None;
        }
        ["fill", t] => println!("{}", fill(t, "x").unwrap()),
        _ => println!("?"),
    }
}
