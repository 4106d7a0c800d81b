//! The tree against published vectors and against a tree too plain to be wrong.

use claviger_audit::tree::tile::{self, Row, Tile, TileNodes};
use claviger_audit::tree::{
    Edge, Hash, Nodes, ProofError, consistency_proof, empty_root, inclusion_proof, leaf_hash, node_hash,
    root_of, verify_consistency, verify_inclusion,
};
use proptest::prelude::*;

fn entry(n: u64) -> Vec<u8> {
    format!("{{\"n\":{n}}}").into_bytes()
}

/// RFC 6962 §2.1, word for word.
fn plain_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let mut split = 1;
            while split * 2 < leaves.len() {
                split *= 2;
            }
            node_hash(&plain_root(&leaves[..split]), &plain_root(&leaves[split..]))
        }
    }
}

/// Every node by brute force, for proofs.
struct Plain(Vec<Hash>);

impl Nodes for Plain {
    type Error = std::convert::Infallible;
    fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        let (from, to) = ((index << level) as usize, ((index + 1) << level) as usize);
        Ok(plain_root(&self.0[from..to]))
    }
}

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|n| leaf_hash(&entry(n))).collect()
}

fn hex(text: &str) -> Hash {
    let bytes: Vec<u8> =
        (0..64).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
    Hash::from_slice(&bytes).unwrap()
}

const L: [&str; 7] = [
    "f94070abfd2da0bf72902eb13a808e794f954d9e2745c682a158f6ed0d4ac036",
    "fb5d93e6cf90bc9470cd9ea9d9e12348993db3e854ab2b7660e3594767045f6c",
    "3d1de776df086c1ae9f7049d2bb0c0475ad14185f987e064e8d10dcb2db4a322",
    "d74a2d1f2af1c1cad6c5e8a86fc869162e7d1ea01e729abff17851d10948f994",
    "67cbf349d6b4e4caf430a96751ca532214414c2f8c9f7c567abbc3e52f2df391",
    "06414f1ba4aaa2cd88d9523c2aa059c6686e62883284e3356a9fad97dfb5e619",
    "b707747e8b09dfaac67d2c485e122fd7f64a377942f95f9db077dfd3cea31273",
];
const N01: &str = "3badc80537f029e1bb77280dc85203cf2ed9748dc8f571230fcba5c326c91068";
const N45: &str = "49341fdcaff60bfdace7afb9c813751bb784d60ab565c2b5ff885357a0574e81";
const N0123: &str = "bd0070acbdc679a24cf44615841483fbfcc18aba00ae4dbe2a0c54af26cbd9fa";
const N456: &str = "2dd81c5911e734c69a745636d999003b5421ee20710736c8d22454b542da8d5c";
const ROOT7: &str = "8eefbabda4f08b5448b4dbb04eb1ebcf2cd86bf367d1c0fec3214882a91b7b9e";

#[test]
fn published_hashes() {
    assert_eq!(empty_root(), hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    assert!(leaf_hash(b"").to_hex().starts_with("6e340b9c"));
    let roots = [
        (1, L[0]),
        (2, N01),
        (3, "2cfef7627597e00b564975774ad728ef210706759fca6d64138c6dfc1cbf2cda"),
        (4, N0123),
        (6, "60d77797c87d5cfa135edd57b3db645a417edba5e6a1f4e2600c053f25478b1e"),
        (7, ROOT7),
        (256, "5674300101808c96b0b2eb1b448615fb1c98650b2583b6791cf4c764918a823d"),
        (257, "9ac4c5b4d82fd3136ea384ce5f0b19825197b47e5e9aaeac18d24db89b910310"),
    ];
    let mut edge = Edge::default();
    for n in 0..257 {
        edge.push(&entry(n));
        if let Some((_, root)) = roots.iter().find(|(size, _)| *size == n + 1) {
            assert_eq!(edge.root(), hex(root), "size {}", n + 1);
        }
    }
    for (n, hash) in L.iter().enumerate() {
        assert_eq!(leaf_hash(&entry(n as u64)), hex(hash));
    }
}

#[test]
fn published_proofs() {
    let plain = Plain(leaves(7));
    let inclusion = |index| inclusion_proof(&plain, index, 7).unwrap();
    assert_eq!(inclusion(5), [hex(L[4]), hex(L[6]), hex(N0123)]);
    assert_eq!(inclusion(6), [hex(N45), hex(N0123)]);
    assert!(inclusion_proof(&plain, 0, 1).unwrap().is_empty());
    let consistency = |old| consistency_proof(&plain, old, 7).unwrap();
    assert_eq!(consistency(3), [hex(L[2]), hex(L[3]), hex(N01), hex(N456)]);
    assert_eq!(consistency(4), [hex(N456)]);
    assert_eq!(consistency(6), [hex(N45), hex(L[6]), hex(N0123)]);
}

/// The trap of every verifier: the claimed size is not part of what a proof proves.
#[test]
fn a_proof_does_not_authenticate_the_size() {
    let proof = inclusion_proof(&Plain(leaves(7)), 0, 7).unwrap();
    for size in [5, 6, 7, 8] {
        assert_eq!(verify_inclusion(hex(L[0]), 0, size, &proof, &hex(ROOT7)), Ok(()), "size {size}");
    }
    assert!(verify_inclusion(hex(L[0]), 0, 9, &proof, &hex(ROOT7)).is_err());
}

#[test]
fn edges_of_consistency() {
    let root = hex(ROOT7);
    assert_eq!(verify_consistency(0, 7, &[], &empty_root(), &root), Ok(()));
    assert_eq!(verify_consistency(0, 0, &[], &empty_root(), &empty_root()), Ok(()));
    assert_eq!(verify_consistency(0, 7, &[], &root, &root), Err(ProofError::Mismatch));
    assert_eq!(verify_consistency(7, 7, &[], &root, &root), Ok(()));
    assert_eq!(verify_consistency(7, 7, &[root], &root, &root), Err(ProofError::Length { found: 1 }));
    assert_eq!(verify_consistency(8, 7, &[], &root, &root), Err(ProofError::Shrunk { old: 8, new: 7 }));
    assert_eq!(verify_consistency(6, 7, &[], &root, &root), Err(ProofError::Length { found: 0 }));
    let long = vec![root; 64];
    assert_eq!(verify_inclusion(root, 0, u64::MAX, &long, &root), Err(ProofError::Length { found: 64 }));
}

#[test]
fn tile_names_and_widths() {
    let name = |row, index, width| Tile { row, index, width }.to_string();
    assert_eq!(name(Row::Level(0), 0, 256), "tile/0/000");
    assert_eq!(name(Row::Level(1), 1000, 256), "tile/1/x001/000");
    assert_eq!(name(Row::Entries, 1_234_067, 5), "tile/entries/x001/x234/067.p/5");
    let all: Vec<String> = tile::new_tiles(0, 70_000).iter().map(Tile::to_string).collect();
    assert_eq!(all.iter().filter(|path| path.starts_with("tile/0/")).count(), 274);
    assert!(all.contains(&"tile/0/273.p/112".to_owned()) && all.contains(&"tile/1/000".to_owned()));
    assert!(all.contains(&"tile/1/001.p/17".to_owned()) && all.contains(&"tile/2/000.p/1".to_owned()));
    let small = |size| tile::new_tiles(0, size).iter().map(Tile::to_string).collect::<Vec<_>>();
    assert_eq!(small(256), ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(small(257)[2..], ["tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1"]);
    for bad in [
        "tile/0/../../etc/passwd",
        "tile/00/000",
        "tile/0/0",
        "tile/0/000.p/256",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/x000/000",
        "/tile/0/000",
        "tile/0/000/",
        "tile/8/data/000",
        "tile/entries/x1/000",
        "tile/0/000.p/+1",
        "tile/+0/000",
        "tile/0/+00",
    ] {
        assert_eq!(Tile::parse(bad), None, "{bad}");
    }
}

#[test]
fn tile_vectors() {
    let plain = leaves(257);
    assert_eq!(
        tile::fold(&plain[..256]).to_hex(),
        "5674300101808c96b0b2eb1b448615fb1c98650b2583b6791cf4c764918a823d"
    );
    assert!(plain[256].to_hex().starts_with("5d467b56") && plain[256].to_hex().ends_with("6d9b57"));
}

/// Tiles of the first `size` entries, made by brute force.
fn tiles_of(all: &[Hash], size: u64) -> impl Fn(Tile) -> Result<Vec<Hash>, String> + '_ {
    move |wanted| {
        let Row::Level(level) = wanted.row else { return Err("not a hash tile".into()) };
        if Tile::at(wanted.row, wanted.index, size) != Some(wanted) {
            return Err(format!("no such tile: {wanted}"));
        }
        let span = 1usize << (8 * level);
        let first = wanted.index as usize * 256;
        Ok((first..first + usize::from(wanted.width))
            .map(|i| plain_root(&all[i * span..(i + 1) * span]))
            .collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn edge_and_tiles_equal_the_plain_tree(size in 1u64..1200, batch in 1u64..300) {
        let all = leaves(size);
        let mut edge = Edge::default();
        let (mut last, mut root) = (0, empty_root());
        while last < size {
            edge.trim();
            let next = size.min(last + batch);
            for leaf in &all[last as usize..next as usize] {
                edge.push_hash(*leaf);
            }
            prop_assert_eq!(edge.root(), plain_root(&all[..next as usize]));
            // The edge alone proves what came since the last trim.
            let proof = consistency_proof(&edge, last, next).unwrap();
            prop_assert_eq!(verify_consistency(last, next, &proof, &root, &edge.root()), Ok(()));
            for index in [last, (last + next) / 2, next - 1] {
                let proof = inclusion_proof(&edge, index, next).unwrap();
                prop_assert_eq!(verify_inclusion(all[index as usize], index, next, &proof, &edge.root()), Ok(()));
            }
            (last, root) = (next, edge.root());
        }
        let tiles = TileNodes { size, fetch: tiles_of(&all, size) };
        prop_assert_eq!(root_of(&tiles, size), Ok(root));
        let mut loaded = Edge::load(&tiles, size).unwrap();
        edge.push(b"next");
        loaded.push(b"next");
        prop_assert_eq!(loaded.root(), edge.root());
    }

    #[test]
    fn proofs_from_tiles_verify_and_mutations_do_not(
        size in 2u64..600, pick in any::<u64>(), old in any::<u64>(), flip in any::<(usize, u8)>()
    ) {
        let all = leaves(size);
        let tiles = TileNodes { size, fetch: tiles_of(&all, size) };
        let root = plain_root(&all);
        let index = pick % size;
        let leaf = all[index as usize];
        let mut proof = inclusion_proof(&tiles, index, size).unwrap();
        prop_assert_eq!(&proof, &inclusion_proof(&Plain(all.clone()), index, size).unwrap());
        prop_assert_eq!(verify_inclusion(leaf, index, size, &proof, &root), Ok(()));
        for other in 0..size {
            prop_assert_eq!(verify_inclusion(leaf, other, size, &proof, &root).is_ok(), other == index);
        }
        let at = flip.0 % proof.len();
        proof[at].0[usize::from(flip.1) % 32] ^= 1 << (flip.1 % 8);
        prop_assert!(verify_inclusion(leaf, index, size, &proof, &root).is_err());

        let old = 1 + old % (size - 1);
        let old_root = plain_root(&all[..old as usize]);
        let mut proof = consistency_proof(&tiles, old, size).unwrap();
        prop_assert_eq!(verify_consistency(old, size, &proof, &old_root, &root), Ok(()));
        let at = flip.0 % proof.len();
        proof[at].0[usize::from(flip.1) % 32] ^= 1 << (flip.1 % 8);
        prop_assert!(verify_consistency(old, size, &proof, &old_root, &root).is_err());
        proof.pop();
        prop_assert!(verify_consistency(old, size, &proof, &old_root, &root).is_err());
    }

    #[test]
    fn tile_paths_round_trip(index in any::<u64>(), level in 0u8..8, width in 1u16..=256) {
        for row in [Row::Entries, Row::Level(level)] {
            let tile = Tile { row, index, width };
            prop_assert_eq!(Tile::parse(&tile.to_string()), Some(tile));
        }
    }
}
