#!/usr/bin/env bash
#
# Makes the list of what the programs are made of, with versions, licences and sums, in the form of CycloneDX:
# target/sbom/asyncio-agent.cdx.json. What only builds or tests them is not in it.

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly OUT=target/sbom

mkdir -p "$OUT"
# It writes beside Cargo.toml, and the name it gives may not have a folder in it.
trap 'rm -f asyncio-agent.cdx.json' EXIT
PATH=$PWD/target/cargo_tools/bin:$PATH cargo cyclonedx --quiet --format json --spec-version 1.5 --describe crate \
    --no-build-deps --target "$(rustc -vV | sed -n 's/^host: //p')" --override-filename asyncio-agent.cdx
mv asyncio-agent.cdx.json "$OUT/"
printf '[sbom] %s components: %s\n' "$(grep -c '"bom-ref"' "$OUT/asyncio-agent.cdx.json")" "$OUT/asyncio-agent.cdx.json"
