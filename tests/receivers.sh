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
        python3 -m pip --version >/dev/null 2>&1 ||
            fail "python3 with pip is needed to load rotel" "apt-get install python3-pip"
        say "loading rotel $VERSION (12 MB)"
        rm -rf "$HOME_DIR/wheel" "$HOME_DIR/download"
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
            --dest "$HOME_DIR/download" "rotel==$VERSION" || fail "rotel could not be loaded (see above)"
        python3 -m zipfile -e "$HOME_DIR"/download/rotel-*.whl "$HOME_DIR/wheel"
        rm -rf "$HOME_DIR/download"
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
