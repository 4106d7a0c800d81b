# shellcheck shell=bash disable=SC2154,SC2016
# The release's scripts. What builds is stood for by a cargo that copies a binary: a real release build takes many minutes.

release() {
    local script clone=$scratch/release packed list program
    for program in shellcheck jq; do
        command -v "$program" > /dev/null || { missing "$program"; return; }
    done
    expect 0 'shell without remarks' shellcheck .ci/release/build .ci/release/reproduce .ci/release/tag tests/run \
        tests/ci-parts tests/ci/*.sh actions/pre-commit/run actions/pre-commit/commit-msg
    for script in sbom pack; do
        expect 0 "$script compiles" python3 -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' ".ci/release/$script"
    done
    pip check-jsonschema 'check-jsonschema==0.39.0' || { missing check-jsonschema; return; }
    pip zizmor 'zizmor==1.32.0' || { missing zizmor; return; }
    expect 0 "the workflow keeps to its schema" "$tools/bin/check-jsonschema" --builtin-schema vendor.github-workflows \
        .github/workflows/release.yml
    expect 0 'zizmor finds nothing in it' "$tools/bin/zizmor" --offline --pedantic .github/workflows/release.yml

    # The bill is the same each time, and lists what is linked and not what only tests or the compiler use.
    HOME=$home .ci/release/sbom x86_64-unknown-linux-musl > "$scratch/bill.json"
    HOME=$home .ci/release/sbom x86_64-unknown-linux-musl > "$scratch/again.json"
    expect 0 'two bills are the same' cmp "$scratch/bill.json" "$scratch/again.json"
    expect 0 'the bill is of CycloneDX, each part has licence and checksum' jq -e '.bomFormat == "CycloneDX" and
        ([.components[] | select(.name | startswith("claviger-") | not) | select(.licenses and .hashes | not)] == [])
        and ([.components[]."bom-ref"] | (length == (unique | length)))' "$scratch/bill.json"
    expect 0 'every dependency it names is listed' jq -e '([.components[]."bom-ref", .metadata.component."bom-ref"]) as $all
        | [.dependencies[] | .ref, .dependsOn[]] | unique | . - $all == []' "$scratch/bill.json"
    expect 0 'it has serde, and neither the macro nor what tests need' jq -e '[.components[].name]
        | index("serde") and (index("serde_derive") or index("proptest") | not)' "$scratch/bill.json"

    # As committed, and what lies here on top of it.
    git clone -q --no-hardlinks "$top" "$clone"
    cp -r .ci Cargo.toml CHANGELOG.md "$clone/"
    git -C "$clone" add . && git -C "$clone" commit -q --allow-empty -m now
    mkdir "$scratch/builder"
    cat > "$scratch/builder/cargo" << 'END'
#!/bin/sh
[ "$*" = 'build --release --locked --package claviger --target x86_64-unknown-linux-musl' ] || exit 9
case $CARGO_ENCODED_RUSTFLAGS in *"--remap-path-prefix=$(pwd -P)=/claviger"*crt-static*) ;; *) exit 8 ;; esac
[ "$SOURCE_DATE_EPOCH" = "$(git log -1 --format=%ct)" ] || exit 7
mkdir -p target/x86_64-unknown-linux-musl/release
printf '#!/bin/sh\n# %s\nexec claviger "$@"\n' "$TRACE" > target/x86_64-unknown-linux-musl/release/claviger
[ -z "$TRACE" ] || pwd >> target/x86_64-unknown-linux-musl/release/claviger
chmod +x target/x86_64-unknown-linux-musl/release/claviger
END
    chmod +x "$scratch/builder/cargo"
    local PATH=$scratch/builder:$PATH
    packed=$scratch/packed
    expect 0 'two builds in two folders, compared' env TRACE= "$clone/.ci/release/reproduce" x86_64-unknown-linux-musl "$packed"
    said 'twice the same: claviger-.*-x86_64-unknown-linux-musl.tar.gz'
    list=$(tar tzf "$packed"/*.tar.gz)
    for script in claviger LICENSE-MIT man/claviger.1 completions/claviger.bash completions/_claviger; do
        expect 0 "the archive has $script" grep -q "^claviger-[0-9.]*-x86_64-unknown-linux-musl/$script\$" <(echo "$list")
    done
    expect 1 'a build that shows its folder is noticed' env TRACE=yes "$clone/.ci/release/reproduce" x86_64-unknown-linux-musl
    said 'two builds of one commit differ'

    expect 1 'a tag of another version' "$clone/.ci/release/tag" v99.0.0
    said 'Cargo.toml says'
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
    printf '# Changelog\n\n## Unreleased\n\nlater\n\n## %s - 2026-12-01\n\n- now\n\n## 0.0.1\n\nold\n' "$version" > "$clone/CHANGELOG.md"
    expect 0 'the tag of this version' "$clone/.ci/release/tag" "v$version"
    expect 0 'with its notes alone' test "$(tr -d '\n' < "$scratch/said")" = '- now'
    printf '# Changelog\n\n## Unreleased\n' > "$clone/CHANGELOG.md"
    expect 1 'a version without notes' "$clone/.ci/release/tag" "v$version"
}
release
