#!/usr/bin/env bash
#
# Brings systemd 257 and debootstrap from Debian's packages into target/systemd, for the tests of the unit and of the
# package (tests/machine.sh). Nothing is installed and no root is needed. What it leaves behind:
#
#   target/systemd/unpacked/root          the unpacked packages
#   target/systemd/unpacked/packages      what was unpacked, one "name version" a line
#   target/systemd/bin/NAME               starts systemd-analyze or systemd-nspawn from anywhere

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly HOME_DIR=$PWD/target/systemd
# Raised when what this script leaves behind changes, so that older leavings are replaced.
readonly RECIPE=2
readonly NAME=systemd
. tests/packages.sh

# The launcher execs. It finds its files from where it stands.
write_launcher() {
    local program=$1 root=$HOME_DIR/unpacked/root loader libraries
    loader=$(first_of "$root" 'usr/lib64/ld-linux-*.so.*' 'usr/lib/ld-linux-*.so.*')
    libraries=$(first_of "$root" 'usr/lib/*-linux-gnu*')
    [[ -n $loader && -n $libraries && -e $root/usr/bin/$program ]] ||
        fail "$program came without what it needs" "remove $HOME_DIR and try again"
    mkdir -p "$HOME_DIR/bin"
    cat >"$HOME_DIR/bin/.$program" <<LAUNCHER
#!/bin/sh
# Starts the unpacked $program with its own C library.
self=\$(readlink -f "\$0")
root=\${self%/*/*}/unpacked/root
exec "\$root/$loader" --library-path "\$root/$libraries:\$root/$libraries/systemd" "\$root/usr/bin/$program" "\$@"
LAUNCHER
    chmod +x "$HOME_DIR/bin/.$program"
    mv "$HOME_DIR/bin/.$program" "$HOME_DIR/bin/$program"
}

main() {
    lock "$HOME_DIR"
    if ! is_complete "$HOME_DIR/unpacked" "$RECIPE"; then
        download "$HOME_DIR/apt" "systemd" trixie systemd systemd-container debootstrap
        unpack "$HOME_DIR/apt" "$HOME_DIR/unpacked" "$RECIPE"
    fi
    local program
    for program in systemd-analyze systemd-nspawn; do
        write_launcher "$program"
        "$HOME_DIR/bin/$program" --version >/dev/null ||
            fail "the unpacked $program does not start (see above)" "remove $HOME_DIR and try again"
    done
    rm -rf "$HOME_DIR/apt"
    say "$(sed -n 's/^systemd /systemd /p' "$HOME_DIR/unpacked/packages") is here: $HOME_DIR/bin"
}

main "$@"
