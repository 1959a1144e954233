#!/usr/bin/env bash
#
# Brings packages that programs of the tests use from the Python registry. Nothing is installed and no root is needed. What it
# leaves behind:
#
#   target/libraries/site-packages    the unpacked packages

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly HOME_DIR=$PWD/target/libraries
# Written in Python only, so any interpreter can use them.
readonly PACKAGES=(anyio==4.16.0 idna==3.20 typing-extensions==4.16.0)
readonly NAME=libraries
. tests/packages.sh

main() {
    lock "$HOME_DIR"
    local complete="$HOME_DIR/site-packages/complete-${PACKAGES[*]}"
    if [[ ! -e $complete ]]; then
        say "loading ${PACKAGES[*]}"
        load_wheels "$HOME_DIR/site-packages" "${PACKAGES[@]}"
        touch "$complete"
    fi
    say "${PACKAGES[*]} are here: $HOME_DIR/site-packages"
}

main "$@"
