# shellcheck shell=bash disable=SC2154
# The hooks, run by pre-commit itself: a commit with a secret is stopped, an accepted one and a clean one pass.

pre_commit() {
    pip pre-commit 'pre-commit==4.7.0' || { missing pre-commit; return; }
    local hooks=$scratch/hooks work=$scratch/committed id secret
    # What pre-commit clones: this repository as far as the hooks need it. The cargo below stands for the build.
    mkdir -p "$hooks/actions"
    cp .pre-commit-hooks.yaml "$hooks/"
    cp -r actions/pre-commit "$hooks/actions/"
    git init -q "$hooks" && git -C "$hooks" add . && git -C "$hooks" commit -q -m hooks
    mkdir "$scratch/cargo"
    cat > "$scratch/cargo/cargo" << 'END'
#!/bin/sh
[ "$1 $2 $3 $4 $5 $6" = "install --locked --quiet --path crates/cli --root" ] || exit 9
[ -z "${GIT_DIR:-}${GIT_INDEX_FILE:-}" ] || exit 8
echo built >> "$CARGO_BUILDS"
mkdir -p "$7/bin" && ln -s "$CLAVIGER" "$7/bin/claviger"
END
    chmod +x "$scratch/cargo/cargo"
    export CARGO_BUILDS=$scratch/builds
    local PATH=$tools/bin:$scratch/cargo:$PATH

    expect 0 'the manifest is valid' pre-commit validate-manifest .pre-commit-hooks.yaml
    for id in claviger-system claviger; do
        rm -rf "$work"
        repository "$work"
        cd "$work" || return
        cat > .pre-commit-config.yaml << END
default_install_hook_types: [pre-commit, commit-msg]
repos:
  - repo: $hooks
    rev: $(git -C "$hooks" rev-parse HEAD)
    hooks: [{id: $id}, {id: claviger-commit-msg}]
END
        git add . && git commit -q -m 'configuration'
        expect 0 "$id: installs" pre-commit install
        secret=$(token)

        echo 'value = 1' > plain.py && git add .
        expect 0 "$id: a clean commit passes" git commit -m 'plain'

        echo "token = '$secret'" > settings.py && git add .
        expect 1 "$id: a staged secret stops the commit" git commit -m 'secret'
        said gitlab-personal-token
        absent "$secret" "$scratch/said"
        # What is staged counts, not what lies in the folder.
        echo 'token = load()' > settings.py
        expect 1 "$id: also when the file on disk has changed since" git commit -m 'secret'
        said gitlab-personal-token

        echo "token = '$secret' # claviger:allow -- revoked, a sample" > settings.py && git add .
        expect 0 "$id: an accepted one passes" git commit -m 'accepted'

        echo 'value = 2' > plain.py && git add .
        expect 1 "$id: a secret in the message stops the commit" git commit -m "use $secret"
        said 'standard input'
        absent "$secret" "$scratch/said"
        expect 0 "$id: a plain message does not" git commit -m 'two'

        # `commit -v` shows what is taken away, below git's scissors.
        git rm -q settings.py
        expect 0 "$id: taking it away with \`commit -v\` passes" \
            env GIT_EDITOR="sed -i '1s/^/gone/'" git commit -v
        ln -s "/srv/$(token)" link && git add link
        expect 1 "$id: a secret in the target of a link" git commit -m 'link'
        git reset -q --hard
        cd "$top" || return
    done
    expect 0 'built once' test "$(wc -l < "$CARGO_BUILDS")" = 1
}
pre_commit
