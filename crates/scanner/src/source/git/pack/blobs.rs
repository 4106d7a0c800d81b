//! Scans the blobs of packs, each with the help of what is known of the one that it is built from.

use super::entry::Kind;
use super::forest::Packs;
use super::walk::{Base, Visitor, walk};
use super::NONE;
use crate::coverage::Coverage;
use crate::engine::{Context, Origin, Trail};
use crate::source::git::history::{Found, Scan};
use crate::source::git::inventory::Inventory;
use crate::source::git::objects::Objects;

/// What was found, and what is left to libgit2.
#[derive(Debug, Default)]
pub(in super::super) struct Part {
    pub(in super::super) found: Found,
    pub(in super::super) coverage: Coverage,
    /// Blobs of the inventory that were not scanned.
    pub(in super::super) rest: Vec<usize>,
}

/// Scans those blobs of the inventory that packs hold.
pub(in super::super) fn scan(packs: &Packs, inventory: &Inventory, objects: &Objects, scan: &Scan<'_>) -> Part {
    let mut wanted = vec![NONE; packs.len()];
    let mut all = Part::default();
    for blob in 0..inventory.len() {
        let object = inventory.object(blob) as usize;
        match wanted.get_mut(object) {
            Some(at) if packs.kind(object as u32) == Kind::Blob => *at = blob as u32,
            _ => all.rest.push(blob),
        }
    }
    let needed = packs.with_bases(|entry| wanted[entry as usize] != NONE);
    let scanner = Scanner { wanted, inventory, objects, packs, scan };
    for part in walk(packs, &needed, &scanner, scan.monitor) {
        all.found.extend(part.found);
        all.coverage.merge(part.coverage);
        all.rest.extend(part.rest);
    }
    all
}

struct Scanner<'a> {
    /// The blob of the inventory that each entry is; [`NONE`] for those that are bases only.
    wanted: Vec<u32>,
    inventory: &'a Inventory,
    objects: &'a Objects,
    packs: &'a Packs,
    scan: &'a Scan<'a>,
}

impl Visitor for Scanner<'_> {
    type Held = Option<Trail>;
    type Job = Part;

    fn visit(
        &self,
        part: &mut Part,
        entry: u32,
        bytes: &[u8],
        base: Option<Base<'_, Option<Trail>>>,
        is_base: bool,
    ) -> Option<Trail> {
        let wanted = self.wanted[entry as usize];
        if wanted == NONE {
            return None;
        }
        let blob = wanted as usize;
        let path = self.inventory.path_of(blob, self.objects);
        let (limit, reason) = self.scan.options.limit();
        if bytes.len() as u64 > limit {
            let what = format!("blob {}, {} bytes", self.packs.id(entry), bytes.len());
            part.coverage.skip(reason, path.as_bytes(), &what);
            return None;
        }
        let context = Context { path: Some(path.as_bytes()), now: self.scan.options.now };
        let origin =
            base.and_then(|base| Some(Origin { trail: base.held.as_ref()?, copied: base.runs }));
        let (hits, trail) = self.scan.engine.scan_built(bytes, &context, origin, is_base);
        part.coverage.blobs += 1;
        part.coverage.bytes += bytes.len() as u64;
        self.scan.monitor.advance(bytes.len() as u64, hits.len() as u64);
        if !hits.is_empty() {
            part.found.push((blob, hits));
        }
        trail
    }

    fn size(held: &Option<Trail>) -> usize {
        held.as_ref().map_or(0, Trail::size)
    }

    fn fail(&self, part: &mut Part, entry: u32) {
        let blob = self.wanted[entry as usize];
        if blob != NONE {
            part.rest.push(blob as usize);
        }
    }
}
