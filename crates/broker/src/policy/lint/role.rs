//! Remarks on one role.

use super::{Said, Severity, View};
use crate::config::document::step_of;
use crate::platform::{Platform, Reach};
use crate::policy::file::Runner;
use crate::policy::matcher::{Matcher, Pattern};
use crate::policy::role::Role;

/// Claims that say where a run came from. An author chooses them, and binding one only narrows.
const EVENTS: &[&str] = &[
    "event_name",
    "pipeline_source",
    "build_source",
    "ref_type",
    "environment_action",
    "sha",
    "workflow_sha",
    "build_commit",
    "rpo_ver",
    "run_number",
    "run_attempt",
];

/// Claims that name an owner or a project: with a star in them, names that strangers may register match.
const NAMES: &[&str] = &[
    "sub",
    "repository",
    "repository_owner",
    "project_path",
    "namespace_path",
    "job_project_path",
    "job_namespace_path",
    "organization_slug",
    "pipeline_slug",
];

/// Platforms whose jobs say whose machine they run on.
const WITH_RUNNERS: &[&str] = &["github", "gitlab", "buildkite"];

/// Claims that GitLab writes as texts, though they look like numbers or truth values.
const GITLAB_TEXTS: &[&str] = &[
    "project_id",
    "namespace_id",
    "job_project_id",
    "job_namespace_id",
    "user_id",
    "pipeline_id",
    "job_id",
    "ref_protected",
    "environment_protected",
];

/// Whether the claim names a branch, a tag, or a commit's place in a history.
fn is_reference(claim: &str) -> bool {
    let name = claim.rsplit('/').next().unwrap_or(claim);
    matches!(name, "ref" | "ref_path" | "build_branch" | "build_tag" | "branchName" | "rpo_ref" | "vcs-ref")
}

fn is_environment(claim: &str) -> bool {
    claim.contains("nvironment") && claim != Runner::CLAIM && claim != "environment_action"
}

fn at(claim: &str) -> String {
    format!("/match{}", step_of(claim))
}

fn wanted(role: &Role) -> impl Iterator<Item = (&str, &Matcher)> {
    let wanted = role.conditions.iter().filter(|it| !it.is_negated);
    wanted.map(|it| (it.claim.as_str(), &it.matcher))
}

/// Whether the role wants one of the claims by which somebody with more rights than an author agrees.
fn is_protected(role: &Role, platform: &dyn Platform) -> bool {
    platform.protection_claims().iter().any(|claim| {
        // `ref_protected: "false"` is a claim bound, and no protection.
        let says_no = |matcher: &Matcher| {
            matcher
                .patterns
                .iter()
                .any(|it| matches!(it, Pattern::Text(text) if text == "false") || *it == Pattern::Bool(false))
        };
        role.wants(claim).is_some_and(|matcher| !says_no(matcher))
    })
}

pub(super) fn never_granted(view: &View<'_>, out: &mut Vec<Said>) {
    let role = view.role;
    for denied in role.conditions.iter().filter(|it| it.is_negated) {
        if role.wants(&denied.claim).is_some_and(|matcher| matcher.implies(&denied.matcher)) {
            let what =
                format!("`{}` must be and must not be the same, so nobody can take the role", denied.claim);
            out.push((Severity::Error, format!("/not{}", step_of(&denied.claim)), what));
        }
    }
    for ceiling in view.config.policy.ceilings.iter().filter(|it| holds_always(it, role)) {
        if let Some(excess) = ceiling.caps.excess(role) {
            let what = format!(
                "nobody can take the role: `{}` is `{}`, and the {} allows only {}",
                excess.member, excess.said, ceiling.name, excess.allowed
            );
            out.push((Severity::Error, format!("/{}", excess.member.replace('.', "/")), what));
        }
    }
}

/// Whether the ceiling is for every identity that could take the role.
fn holds_always(ceiling: &crate::policy::ceiling::Ceiling, role: &Role) -> bool {
    role.issuers.iter().all(|issuer| ceiling.is_of(issuer))
        && ceiling.conditions.iter().all(|(claim, lid)| role.wants(claim).is_some_and(|it| it.implies(lid)))
}

pub(super) fn claim_type(view: &View<'_>, out: &mut Vec<Said>) {
    let is_text = |claim: &str| {
        view.platforms.iter().any(|platform| match platform.name() {
            "github" | "forgejo" => !claim.starts_with('/') && !matches!(claim, "exp" | "iat" | "nbf"),
            "gitlab" => GITLAB_TEXTS.contains(&claim),
            _ => false,
        })
    };
    for condition in view.role.conditions.iter().filter(|it| is_text(&it.claim)) {
        let odd = condition.matcher.patterns.iter().find_map(|pattern| match pattern {
            Pattern::Number(number) => Some(number.to_string()),
            Pattern::Bool(truth) => Some(truth.to_string()),
            Pattern::Text(_) | Pattern::Glob(_) => None,
        });
        if let Some(odd) = odd {
            let member = if condition.is_negated { "not" } else { "match" };
            let what =
                format!("`{}` is a text there and never equals {odd}; write \"{odd}\"", condition.claim);
            out.push((Severity::Error, format!("/{member}{}", step_of(&condition.claim)), what));
        }
    }
}

pub(super) fn ids_across_issuers(view: &View<'_>, out: &mut Vec<Said>) {
    if view.role.issuers.len() > 1 && !view.role.bound.is_empty() {
        let what = format!(
            "the same `{}` of another issuer is somebody else; write one role for each issuer",
            view.role.bound.join("`, `")
        );
        out.push((Severity::Error, "/issuer".to_owned(), what));
    }
}

pub(super) fn unbound_id(view: &View<'_>, out: &mut Vec<Said>) {
    if !view.role.bound.is_empty() {
        return;
    }
    let claims: Vec<&str> = view
        .platforms
        .iter()
        .filter_map(|platform| platform.immutable_claims().first())
        .flat_map(|binding| binding.claims.iter().copied())
        .collect();
    let what = format!("whoever gets these names next may take the role; bind `{}`", claims.join("`, `"));
    out.push((view.by_access(), "/mutable".to_owned(), what));
}

pub(super) fn owner_reach(view: &View<'_>, out: &mut Vec<Said>) {
    if view.role.reach == Some(Reach::Owner) {
        let what = format!(
            "every repository with this `{}` may take the role, also those made tomorrow; bind the repository's id",
            view.role.bound.join("`, `")
        );
        out.push((view.by_access(), at(&view.role.bound[0]), what));
    }
}

pub(super) fn wildcard_reach(view: &View<'_>, out: &mut Vec<Said>) {
    for (claim, matcher) in wanted(view.role) {
        for glob in matcher.globs().filter(|glob| glob.is_wide() || NAMES.contains(&claim)) {
            let what = format!(
                "`{claim}` may be anything where `{glob}` has its `*`; say more of it, or list the values"
            );
            out.push((Severity::Warning, at(claim), what));
        }
    }
}

pub(super) fn unprotected_ref(view: &View<'_>, out: &mut Vec<Said>) {
    let role = view.role;
    let Some((claim, _)) = wanted(role).find(|(claim, _)| is_reference(claim)) else { return };
    for platform in &view.platforms {
        let choices = platform.protection_claims();
        if choices.is_empty() || is_protected(role, *platform) {
            continue;
        }
        let what = format!(
            "whoever may push names the branch or tag; want `{}` too, so that somebody else has to agree",
            choices.join("` or `")
        );
        out.push((Severity::Warning, at(claim), what));
        return;
    }
}

pub(super) fn authored_claim(view: &View<'_>, out: &mut Vec<Said>) {
    for (claim, _) in wanted(view.role) {
        let is_authored = view.platforms.iter().any(|platform| platform.authored_claims().contains(&claim));
        if is_authored && !is_reference(claim) && !EVENTS.contains(&claim) && claim != Runner::CLAIM {
            let what = format!(
                "the author of a change can make `{claim}` say this; it narrows and protects nothing"
            );
            out.push((Severity::Warning, at(claim), what));
        }
    }
}

pub(super) fn write_without_environment(view: &View<'_>, out: &mut Vec<Said>) {
    if !view.can_write() || wanted(view.role).any(|(claim, _)| is_environment(claim)) {
        return;
    }
    let claim = view
        .platforms
        .iter()
        .find_map(|platform| platform.protection_claims().iter().find(|claim| is_environment(claim)));
    if let Some(claim) = claim {
        let what = format!(
            "a compromised job of the right branch has the right identity; want `{claim}`, where people approve, or say \
             `access: read` if nothing can be changed with it"
        );
        out.push((Severity::Warning, "/match".to_owned(), what));
    }
}

pub(super) fn self_hosted_write(view: &View<'_>, out: &mut Vec<Said>) {
    let says = view.role.runner == Some(Runner::Hosted)
        || view
            .role
            .wants(Runner::CLAIM)
            .and_then(Matcher::exact_texts)
            .is_some_and(|texts| texts.iter().all(|text| Runner::Hosted.values().contains(text)));
    let is_known = view.platforms.iter().any(|platform| WITH_RUNNERS.contains(&platform.name()));
    if !view.can_write() || says || !is_known {
        return;
    }
    let (at, what) = if view.role.runner == Some(Runner::SelfHosted) {
        (
            "/runner_environment",
            "such a runner may keep files and processes of other jobs, which then see the credential",
        )
    } else {
        (
            "",
            "jobs of self-hosted runners may take it, whose machines may keep what other jobs left; say \
              `runner_environment: hosted`, or accept this remark",
        )
    };
    out.push((Severity::Warning, at.to_owned(), what.to_owned()));
}

pub(super) fn hazard_allowed(view: &View<'_>, out: &mut Vec<Said>) {
    for hazard in &view.role.allow {
        let what = format!("with `{hazard}` {}; say in `accept` why that is safe", hazard.about());
        out.push((view.by_access(), "/allow".to_owned(), what));
    }
}

pub(super) fn reusable_workflow(view: &View<'_>, out: &mut Vec<Said>) {
    let binds = |claim: &str| view.role.wants(claim).is_some();
    let (claim, what) = match (binds("workflow_ref"), binds("job_workflow_ref")) {
        (true, false) => (
            "workflow_ref",
            "jobs of reusable workflows that this workflow calls may take the role, too; bind `job_workflow_ref` if only its \
             own may",
        ),
        (false, true) => (
            "job_workflow_ref",
            "every workflow that calls this reusable one may take the role; bind `workflow_ref` if only some may",
        ),
        _ => return,
    };
    out.push((Severity::Note, at(claim), what.to_owned()));
}

pub(super) fn ttl_over_ceiling(view: &View<'_>, out: &mut Vec<Said>) {
    let role = view.role;
    let environment = view.config.environments.get(&role.environment).and_then(|it| it.max_ttl);
    let lids = view.config.policy.ceilings.iter().filter(|it| holds_always(it, role));
    let all = lids.map(|it| it.caps.max_ttl).chain([environment, Some(role.max_ttl)]);
    let shortest = all.flatten().min().unwrap_or(role.max_ttl);
    if shortest < role.written_max_ttl {
        let what = format!("`max_ttl` is {}, and {shortest} is what it gets", role.written_max_ttl);
        out.push((Severity::Warning, "/grant/max_ttl".to_owned(), what));
    }
}
