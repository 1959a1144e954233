#!/usr/bin/env bash
#
# Brings systemd-analyze 257 from Debian's packages into target/systemd, for the tests of the unit. Nothing is
# installed and no root is needed. What it leaves behind:
#
#   target/systemd/unpacked/root          the unpacked packages
#   target/systemd/unpacked/packages      what was unpacked, one "name version" a line
#   target/systemd/bin/systemd-analyze    starts it from anywhere

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly HOME_DIR=$PWD/target/systemd
# Raised when what this script leaves behind changes, so that older leavings are replaced.
readonly RECIPE=1
readonly NAME=systemd
. tests/packages.sh

# The launcher execs. It finds its files from where it stands.
write_launcher() {
    local root=$HOME_DIR/unpacked/root loader libraries
    loader=$(first_of "$root" 'usr/lib64/ld-linux-*.so.*' 'usr/lib/ld-linux-*.so.*')
    libraries=$(first_of "$root" 'usr/lib/*-linux-gnu*')
    [[ -n $loader && -n $libraries && -e $root/usr/bin/systemd-analyze ]] ||
        fail "systemd-analyze came without what it needs" "remove $HOME_DIR and try again"
    mkdir -p "$HOME_DIR/bin"
    cat >"$HOME_DIR/bin/.systemd-analyze" <<LAUNCHER
#!/bin/sh
# Starts the unpacked systemd-analyze with its own C library.
self=\$(readlink -f "\$0")
root=\${self%/*/*}/unpacked/root
exec "\$root/$loader" --library-path "\$root/$libraries:\$root/$libraries/systemd" "\$root/usr/bin/systemd-analyze" "\$@"
LAUNCHER
    chmod +x "$HOME_DIR/bin/.systemd-analyze"
    mv "$HOME_DIR/bin/.systemd-analyze" "$HOME_DIR/bin/systemd-analyze"
}

main() {
    lock "$HOME_DIR"
    if ! is_complete "$HOME_DIR/unpacked" "$RECIPE"; then
        download "$HOME_DIR/apt" "systemd" trixie systemd
        unpack "$HOME_DIR/apt" "$HOME_DIR/unpacked" "$RECIPE"
    fi
    write_launcher
    "$HOME_DIR/bin/systemd-analyze" --version >/dev/null ||
        fail "the unpacked systemd-analyze does not start (see above)" "remove $HOME_DIR and try again"
    rm -rf "$HOME_DIR/apt"
    say "$(sed -n 's/^systemd /systemd /p' "$HOME_DIR/unpacked/packages") is here: $HOME_DIR/bin"
}

main "$@"
