#!/usr/bin/env bash
#
# Makes the Debian package, target/package/asyncio-agent_VERSION_ARCHITECTURE.deb, and says how large it is and the
# programs in it are.
#
# usage: deploy/deb.sh [test]     with `test`: target/package-test/asyncio-agent_VERSION_ARCHITECTURE.deb, of the
#                                 programs that the tests have built. It is made in seconds.

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly KIND=${1:-release}
readonly PAGES=target/package/pages

say() { printf '[deb] %s\n' "$*"; }

# Paths of this machine would be in the messages of panics.
remap() {
    local registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
    printf -- '--remap-path-prefix=%s=/src\x1f--remap-path-prefix=%s=/crates' "$PWD" "$registry"
}

# Sets where the programs are, and what cargo-deb is to make of them.
build() {
    case $KIND in
        release)
            # A folder of its own, so that what is built otherwise is not built again each time.
            export CARGO_TARGET_DIR=$PWD/target/package
            PROGRAMS=$CARGO_TARGET_DIR/release OUT=$PWD/target/package OPTIONS=()
            CARGO_ENCODED_RUSTFLAGS=$(remap) cargo build --release --locked --bins
            ;;
        test)
            PROGRAMS=$PWD/target/debug OUT=$PWD/target/package-test OPTIONS=(--profile dev --fast --strip)
            cargo build --locked --bins
            ;;
        *)
            say "error: $KIND is not \"test\"" >&2
            exit 2
            ;;
    esac
}

# The page $1, of the command $2, and those that it names.
write_manual() {
    local page=$1 name
    shift
    "$PROGRAMS/agentctl" man "$@" >"$page"
    while read -r name; do
        write_manual "$PAGES/agentctl-$name.1" "$name"
    done < <(sed -n 's/\\-/-/g; s/^agentctl-\([a-z-]*\)(1)$/\1/p' "$page")
}

write_pages() {
    local agentctl=$PROGRAMS/agentctl program
    rm -rf "$PAGES"
    mkdir -p "$PAGES"/{bash,zsh,fish}
    "$agentctl" man asyncio-agent >"$PAGES/asyncio-agent.8"
    write_manual "$PAGES/agentctl.1"
    for program in agentctl asyncio-agent; do
        "$agentctl" completions bash "$program" >"$PAGES/bash/$program"
        "$agentctl" completions zsh "$program" >"$PAGES/zsh/_$program"
        "$agentctl" completions fish "$program" >"$PAGES/fish/$program.fish"
    done
}

main() {
    local path
    command -v dpkg-shlibdeps >/dev/null || {
        say "error: there is no dpkg-shlibdeps, which tells which libraries are needed: apt-get install dpkg-dev" >&2
        exit 1
    }
    build
    write_pages
    deploy/licences.sh "$(rustc -vV | sed -n 's/^host: //p')" target/package/third-party-licences
    # The time of the files in it: that of the sources, if that is known.
    if [[ -z ${SOURCE_DATE_EPOCH:-} ]] && git rev-parse HEAD >/dev/null 2>&1; then
        SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
        export SOURCE_DATE_EPOCH
    fi
    mkdir -p "$OUT"
    rm -f "$OUT"/*.deb
    target/cargo_tools/bin/cargo-deb --quiet --no-build --locked "${OPTIONS[@]}" --output "$OUT/"
    for path in "$PROGRAMS"/{asyncio-agent,agentctl} "$OUT"/*.deb; do
        say "$(stat -c '%s bytes' "$path")  ${path#"$PWD/"}"
    done
}

main
