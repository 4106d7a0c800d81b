# shellcheck shell=bash disable=SC2154,SC2016
# The other platforms' snippets: held to their schemas, and their shell run with the variables that the platform sets.

# The shell in an answer of jq's kind: a path into a YAML file, or the nth `sh` of a Jenkinsfile.
shell_of() {
    "$tools/bin/python" - "$1" "$2" << 'END'
import re, sys, textwrap, yaml
text = open(sys.argv[1]).read()
if sys.argv[1].endswith("Jenkinsfile"):
    print(textwrap.dedent(re.findall(r"sh '''\n(.*?)'''", text, re.S)[int(sys.argv[2])]))
else:
    node = yaml.safe_load(text)
    for key in sys.argv[2].split("/"):
        node = node[int(key)] if isinstance(node, list) else node[key]
    print(node)
END
}

schema() { expect 0 "$2 keeps to its schema" "$tools/bin/check-jsonschema" --builtin-schema "vendor.$1" "$2"; }

# A scan's shell in three clones: a change with a secret, a clean one, and the branch itself, whose files are clean.
scans() {
    local what=$1 script=$2 target=$3 branch work=$scratch/clone
    shift 3
    for branch in leaking clean main; do
        rm -rf "$work"
        git clone -q --no-local --branch "$branch" "file://$scratch/snippets" "$work"
        # Where a checkout of the platform's own has left the base.
        git -C "$work" update-ref refs/claviger/base origin/main
        local wanted=0 variables=("$@")
        [ "$branch" != leaking ] || wanted=1
        [ "$branch" = main ] || variables+=("$target")
        expect "$wanted" "$what: $branch" env -C "$work" "${variables[@]}" bash -e -c "$script"
    done
}

# A snippet's `claviger exec` against the broker, with the program that the job would run.
execs() {
    local what=$1 script=$2
    shift 2
    script=${script//--role report/--role demo --input public_key=@$scratch/id.pub}
    script=${script//--role \"\$CLAVIGER_ROLE\"/--role \"\$CLAVIGER_ROLE\" --input public_key=@$scratch/id.pub}
    script=${script//psql -c \'select 1\'/env}
    script=${script//.\/report.sh/env}
    expect 0 "$what: a program with a credential" env -C "$scratch" "$@" bash -e -c "$script"
    said '^CLAVIGER_CERTIFICATE='
    expect 125 "$what: nothing runs without one" env -C "$scratch" "$@" CLAVIGER_ID_TOKEN=x.y.z CLAVIGER_ID_TOKEN_FILE= \
        bash -e -c "${script/-- /-- touch $scratch/ran; }"
    expect 1 "$what: indeed" test -e "$scratch/ran"
}

snippets() {
    local origin=$scratch/snippets file
    pip check-jsonschema 'check-jsonschema==0.39.0' || { missing check-jsonschema; return; }
    pip pre-commit 'pre-commit==4.7.0' || { missing 'pre-commit (for its YAML reader)'; return; }
    command -v ssh-keygen > /dev/null || { missing ssh-keygen; return; }
    cd actions || return
    schema circle-ci circleci/orb.yml
    schema bitbucket-pipelines bitbucket/bitbucket-pipelines.yml
    schema azure-pipelines azure-devops/claviger.yml
    # Forgejo's own key is not in the schema of GitHub's workflows.
    grep -v '^enable-openid-connect: true$' forgejo/claviger.yml > "$scratch/forgejo.yml"
    schema github-workflows "$scratch/forgejo.yml"
    for file in buildkite/plugin.yml tekton/task.yaml argo/template.yaml; do
        expect 0 "$file is YAML" "$tools/bin/python" -c 'import sys, yaml; yaml.safe_load(open(sys.argv[1]))' "$file"
    done
    expect 0 'hooks without remarks' shellcheck buildkite/hooks/pre-command buildkite/hooks/command

    repository "$origin"
    git -C "$origin" checkout -q -b clean && echo 1 > "$origin/one" && git -C "$origin" add . && git -C "$origin" commit -q -m one
    git -C "$origin" checkout -q -b leaking && echo "token = '$(token)'" > "$origin/settings.py"
    # It tries to switch off its own scan.
    printf 'version: 1\nexclude: ["*.py"]\n' > "$origin/claviger.yaml"
    git -C "$origin" add . && git -C "$origin" commit -q -m two
    git -C "$origin" checkout -q main

    scans CircleCI "$(shell_of circleci/orb.yml commands/scan/steps/0/run/command)" CIRCLE_BRANCH=change \
        CIRCLE_BRANCH=main CLAVIGER_BASE=main
    scans Buildkite "$(< buildkite/hooks/pre-command)" BUILDKITE_PULL_REQUEST_BASE_BRANCH=main
    scans Bitbucket "$(shell_of bitbucket/bitbucket-pipelines.yml definitions/steps/0/step/script/0)" BITBUCKET_PR_DESTINATION_BRANCH=main
    scans 'Azure DevOps' "$(shell_of azure-devops/claviger.yml steps/0/bash)" SYSTEM_PULLREQUEST_TARGETBRANCH=refs/heads/main
    scans Jenkins "$(shell_of jenkins/Jenkinsfile 0)" CHANGE_TARGET=main
    scans Forgejo "$(shell_of forgejo/claviger.yml jobs/scan/steps/1/run)" GITHUB_BASE_REF=main
    scans Tekton "$(shell_of tekton/task.yaml spec/steps/0/script)" CLAVIGER_BASE=main CLAVIGER_BASE=

    # What a branch is called is no command and no flag.
    rm -rf "$scratch/clone" && git clone -q --no-local "file://$origin" "$scratch/clone"
    expect 128 'a branch of an odd name' env -C "$scratch/clone" 'CHANGE_TARGET=$(touch ran); --upload-pack=touch ran' \
        bash -e -c "$(shell_of jenkins/Jenkinsfile 0)"
    expect 1 'is only a name' test -e "$scratch/clone/ran"

    broker || { cd "$top" || return; return; }
    ssh-keygen -q -t ed25519 -N '' -f "$scratch/id"
    local step=(CLAVIGER_ROLE=demo CLAVIGER_COMMAND=env)
    execs Bitbucket "$(shell_of bitbucket/bitbucket-pipelines.yml definitions/steps/1/step/script/1)" "CLAVIGER_ID_TOKEN=$(identity)"
    execs CircleCI "$(shell_of circleci/orb.yml examples/change/usage/jobs/report/steps/1/run)" "CLAVIGER_ID_TOKEN=$(identity)"
    execs Jenkins "$(shell_of jenkins/Jenkinsfile 1)" "CLAVIGER_ID_TOKEN=$(identity)"
    execs 'Azure DevOps' "$(shell_of azure-devops/claviger.yml steps/1/bash)" "${step[@]}" "CLAVIGER_ID_TOKEN=$(identity)"
    execs Forgejo "$(shell_of forgejo/claviger.yml jobs/report/steps/0/run)" "CLAVIGER_ID_TOKEN=$(identity)"
    execs Buildkite "$(sed 's/"\$BUILDKITE_PLUGIN_CLAVIGER_ROLE" --/"$CLAVIGER_ROLE" --/' buildkite/hooks/command)" "${step[@]}" \
        BUILDKITE_PLUGIN_CLAVIGER_ROLE=demo BUILDKITE_COMMAND=env "CLAVIGER_ID_TOKEN=$(identity)"
    # A pod's token is a file.
    identity > "$scratch/pod" && execs Tekton "$(shell_of tekton/task.yaml spec/steps/1/script)" "${step[@]}" \
        "CLAVIGER_ID_TOKEN_FILE=$scratch/pod"
    identity > "$scratch/pod" && execs Argo "$(shell_of argo/template.yaml spec/templates/0/script/source)" "${step[@]}" \
        "CLAVIGER_ID_TOKEN_FILE=$scratch/pod"
    expect 0 'Buildkite: no role, no credential' env BUILDKITE_COMMAND='echo plain' bash buildkite/hooks/command
    said '^plain$'
}
snippets
