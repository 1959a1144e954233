#!/usr/bin/env bash
#
# Makes the list of what the programs are made of, with versions, licences and sums, in the form of CycloneDX:
# target/sbom/asyncio-agent.cdx.json. What only builds or tests them is not in it.

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly OUT=target/sbom

mkdir -p "$OUT"
# The time in it: that of the sources, if that is known.
if [[ -z ${SOURCE_DATE_EPOCH:-} ]] && git rev-parse HEAD >/dev/null 2>&1; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
    export SOURCE_DATE_EPOCH
fi
# It writes beside Cargo.toml, and the name it gives may not have a folder in it.
trap 'rm -f asyncio-agent.cdx.json' EXIT
PATH=$PWD/target/cargo_tools/bin:$PATH cargo cyclonedx --quiet --format json --spec-version 1.5 \
    --no-build-deps --target "$(rustc -vV | sed -n 's/^host: //p')" --override-filename asyncio-agent.cdx
# Where the sources were is nobody's business.
sed "s#path+file://$PWD#path+file:///src#g; s#file://$PWD#file:///src#g" asyncio-agent.cdx.json >"$OUT/asyncio-agent.cdx.json"
printf '[sbom] %s\n' "$OUT/asyncio-agent.cdx.json"
