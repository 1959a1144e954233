#!/usr/bin/env bash
#
# Writes the licences of what is in the programs, with their texts and the crates that are under each, from what the crates
# themselves carry; target/cargo_tools/bin/cargo-about finds them (tests/cargo_tools.sh). That takes a minute, so what was
# found is kept in target/licences for as long as nothing of it changes.
#
# usage: deploy/licences.sh TARGET FILE     TARGET: the platform of the programs, such as x86_64-unknown-linux-musl

set -Eeuo pipefail

readonly TARGET=${1:?usage: deploy/licences.sh TARGET FILE}
FILE=$(realpath -m "${2:?usage: deploy/licences.sh TARGET FILE}")
readonly FILE
cd "$(dirname "${BASH_SOURCE[0]}")/.."

SUM=$(cat Cargo.toml Cargo.lock deploy/about.toml deploy/licences.hbs target/cargo_tools/bin/cargo-about | sha256sum | cut -c1-16)
readonly KEPT=target/licences/$TARGET-$SUM

if [[ ! -e $KEPT ]]; then
    rm -f "target/licences/$TARGET"-*
    mkdir -p target/licences
    cargo fetch --quiet --locked
    target/cargo_tools/bin/cargo-about generate --locked --offline --fail --config deploy/about.toml --target "$TARGET" \
        --output-file "$KEPT.part" deploy/licences.hbs
    mv "$KEPT.part" "$KEPT"
fi
install -D -m 644 "$KEPT" "$FILE"
