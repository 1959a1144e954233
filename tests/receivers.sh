#!/usr/bin/env bash
#
# Brings rotel, a receiver of OpenTelemetry that is not ours, from the Python registry into target/receivers,
# for the tests. Nothing is installed and no root is needed. What it leaves behind:
#
#   target/receivers/wheel        the unpacked package
#   target/receivers/bin/rotel    the program in it

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly HOME_DIR=$PWD/target/receivers
readonly VERSION=0.0.1a15
readonly NAME=receivers
. tests/packages.sh

main() {
    lock "$HOME_DIR"
    if [[ ! -e $HOME_DIR/wheel/complete-$VERSION ]]; then
        say "loading rotel $VERSION (12 MB)"
        load_wheels "$HOME_DIR/wheel" "rotel==$VERSION"
        chmod +x "$HOME_DIR/wheel/rotel/rotel-agent"
        touch "$HOME_DIR/wheel/complete-$VERSION"
    fi
    mkdir -p "$HOME_DIR/bin"
    ln -sfn ../wheel/rotel/rotel-agent "$HOME_DIR/bin/rotel"
    "$HOME_DIR/bin/rotel" --version >/dev/null 2>&1 || "$HOME_DIR/bin/rotel" --help >/dev/null 2>&1 ||
        fail "rotel does not start" "remove $HOME_DIR and try again"
    say "rotel $VERSION is here: $HOME_DIR/bin/rotel"
}

main "$@"
