//! Roles that grant the same: one of them may be needless, or the narrow one may look like a protection and be none.

use std::collections::HashMap;

use serde_json::json;

use crate::policy::build::canonical;
use crate::policy::role::Role;

/// Most roles that are not bound to one repository and are compared with all others.
const MAX_WIDE: usize = 100;

/// Roles that grant the same, by what they are bound to.
#[derive(Default)]
struct Group<'r> {
    bound: HashMap<Vec<String>, Vec<&'r Role>>,
    /// Bound to several things, to an owner, or to nothing.
    wide: Vec<&'r Role>,
}

/// Finds roles that are needless beside another one: the role, the remark's id, and what to say.
pub(super) fn find(roles: &[Role]) -> Vec<(&Role, &'static str, String)> {
    let mut groups: HashMap<String, Group<'_>> = HashMap::new();
    for role in roles {
        let grant = json!([role.provider, role.environment, canonical(&role.parameters)]).to_string();
        let group = groups.entry(grant).or_default();
        match binding(role) {
            Some(binding) => group.bound.entry(binding).or_default().push(role),
            None => group.wide.push(role),
        }
    }
    let mut found = Vec::new();
    for role in roles {
        let grant = json!([role.provider, role.environment, canonical(&role.parameters)]).to_string();
        let Some(group) = groups.get(&grant) else { continue };
        let near = binding(role).and_then(|binding| group.bound.get(&binding));
        let others = near.into_iter().flatten().chain(group.wide.iter().take(MAX_WIDE));
        for other in others.filter(|other| other.name != role.name) {
            let (is_narrower, is_wider) = (implies(role, other), implies(other, role));
            // Of two that say the same, the later one by name is the duplicate.
            if is_narrower && is_wider && other.name < role.name {
                let what = format!("`{}` says the same; remove one of them", other.name);
                found.push((role, "duplicate-role", what));
                break;
            }
            if is_narrower && !is_wider {
                let what = format!(
                    "whoever may take it may take `{}`, which grants the same under fewer conditions; narrow that one, or remove \
                     this one",
                    other.name
                );
                found.push((role, "shadowed-role", what));
                break;
            }
        }
    }
    found
}

/// Issuers and the one value of each claim that the role is bound to; `None` if it is several or none.
fn binding(role: &Role) -> Option<Vec<String>> {
    if role.bound.is_empty() {
        return None;
    }
    let mut key: Vec<String> = role.issuers.iter().map(|it| it.to_string()).collect();
    for claim in &role.bound {
        match role.wants(claim)?.exact_texts()?.as_slice() {
            [one] => key.push(format!("{claim}={one}")),
            _ => return None,
        }
    }
    Some(key)
}

/// Whether everybody who may take `narrow` may take `wide`, for at least as long.
fn implies(narrow: &Role, wide: &Role) -> bool {
    let is_wanted = wide.conditions.iter().all(|theirs| {
        narrow.conditions.iter().any(|mine| {
            let is_same = mine.claim == theirs.claim && mine.is_negated == theirs.is_negated;
            // What is excluded from the narrow one includes all that is excluded from the wide one.
            let (from, to) = if mine.is_negated { (theirs, mine) } else { (mine, theirs) };
            is_same && from.matcher.implies(&to.matcher)
        })
    });
    is_wanted
        && narrow.issuers.iter().all(|it| wide.issuers.contains(it))
        && narrow.allow.is_subset(&wide.allow)
        && (wide.runner.is_none() || wide.runner == narrow.runner)
        && (wide.network.is_empty() || wide.network == narrow.network)
        && (wide.until.is_none() || (narrow.until.is_some() && narrow.until <= wide.until))
        && narrow.max_ttl <= wide.max_ttl
}
