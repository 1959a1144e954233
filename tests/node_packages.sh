#!/usr/bin/env bash
#
# Brings the packages of tests/node_packages/package.json from npm into target/node_packages, for the tests: the
# types of Grafana's dashboards, of Kubernetes and of the Prometheus Operator, and TypeScript, which holds ours against
# them. None of their scripts is run, and nothing is installed anywhere else.
#
# To raise a version: change package.json, then
#   npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts
# in that folder. Without the second option the lock file would name the registry of whoever ran it.

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly FROM=$PWD/tests/node_packages
readonly HOME_DIR=$PWD/target/node_packages
readonly NAME=node_packages
readonly NODE_MIN=18
. tests/packages.sh

check_node() {
    local tool version
    for tool in node npm; do
        command -v "$tool" >/dev/null || fail "there is no $tool" \
            "dashboards and manifests are checked with Node.js $NODE_MIN or newer and its npm: apt-get install nodejs npm"
    done
    version=$(node -p 'process.versions.node.split(".")[0]')
    ((version >= NODE_MIN)) || fail "Node.js $version is too old: $NODE_MIN or newer is needed"
}

main() {
    check_node
    lock "$HOME_DIR"
    # The copy is made last, so a run that was killed leaves nothing to trust.
    if ! cmp -s "$FROM/package-lock.json" "$HOME_DIR/complete"; then
        say "downloading the types of Grafana and Kubernetes, and TypeScript (about 15 MB)"
        rm -f "$HOME_DIR/complete"
        cp "$FROM/package.json" "$FROM/package-lock.json" "$HOME_DIR/"
        (cd "$HOME_DIR" && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error) ||
            fail "npm cannot bring the packages (see above)" "is the network up?"
        cp "$FROM/package-lock.json" "$HOME_DIR/complete"
    fi
    say "TypeScript $(cd "$HOME_DIR" && node -p 'require("typescript").version') is here: $HOME_DIR/node_modules"
}

main "$@"
