#!/usr/bin/env bash
#
# Brings a small Debian with systemd 257 that the tests boot, and systemd-nspawn, which boots it, into
# target/machine. Nothing is installed. It takes root, as booting does. What it leaves behind:
#
#   target/machine/unpacked/root          debootstrap and systemd-nspawn, unpacked
#   target/machine/unpacked/packages      what was unpacked, one "name version" a line
#   target/machine/bin/systemd-nspawn     starts it from anywhere
#   target/machine/system                 the system; the tests boot it and write to none of its files

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly HOME_DIR=$PWD/target/machine
# Raised when what this script leaves behind changes, so that older leavings are replaced.
readonly RECIPE=1
readonly NAME=machine
readonly SUITE=trixie
. tests/packages.sh

check_host() {
    ((EUID == 0)) || fail "installing a Debian and booting it takes root" "sudo make $NAME, or run the tests as root"
    local tool
    for tool in chroot nsenter mount wget; do
        command -v "$tool" >/dev/null || fail "there is no $tool" "apt-get install coreutils util-linux mount wget"
    done
}

# The launcher execs, so its pid is the program's. It finds its files from where it stands.
write_launcher() {
    local root=$HOME_DIR/unpacked/root loader libraries
    loader=$(first_of "$root" 'usr/lib64/ld-linux-*.so.*' 'usr/lib/ld-linux-*.so.*')
    libraries=$(first_of "$root" 'usr/lib/*-linux-gnu*')
    [[ -n $loader && -n $libraries && -e $root/usr/bin/systemd-nspawn ]] ||
        fail "systemd-nspawn came without what it needs" "remove $HOME_DIR and try again"
    mkdir -p "$HOME_DIR/bin"
    cat >"$HOME_DIR/bin/.systemd-nspawn" <<LAUNCHER
#!/bin/sh
# Starts the unpacked systemd-nspawn with its own C library.
self=\$(readlink -f "\$0")
root=\${self%/*/*}/unpacked/root
exec "\$root/$loader" --library-path "\$root/$libraries:\$root/$libraries/systemd" "\$root/usr/bin/systemd-nspawn" "\$@"
LAUNCHER
    chmod +x "$HOME_DIR/bin/.systemd-nspawn"
    mv "$HOME_DIR/bin/.systemd-nspawn" "$HOME_DIR/bin/systemd-nspawn"
}

install_system() {
    local system=$HOME_DIR/system partial=$HOME_DIR/system.partial
    say "installing Debian $SUITE (about 80 MB to load, a minute to install)"
    rm -rf "$partial"
    DEBOOTSTRAP_DIR=$HOME_DIR/unpacked/root/usr/share/debootstrap \
        sh "$HOME_DIR/unpacked/root/usr/sbin/debootstrap" --variant=minbase --keyring="${KEYRING%%,*}" \
        --include=systemd,systemd-sysv "$SUITE" "$partial" "$MIRROR" >"$HOME_DIR/debootstrap.log" 2>&1 ||
        fail "Debian cannot be installed: $(tail -n 3 "$HOME_DIR/debootstrap.log" | tr '\n' ' ')" \
            "$HOME_DIR/debootstrap.log and $partial/debootstrap/debootstrap.log say more"
    # What is not needed any more, and an id of the machine, which each boot is to make anew.
    rm -rf "$partial"/var/cache/apt/archives/*.deb "$partial"/var/lib/apt/lists/*
    : >"$partial/etc/machine-id"
    echo "recipe $RECIPE" >"$partial/recipe"
    rm -rf "$system"
    mv "$partial" "$system"
}

main() {
    check_host
    lock "$HOME_DIR"
    if ! is_complete "$HOME_DIR/unpacked" "$RECIPE"; then
        download "$HOME_DIR/apt" "debootstrap and systemd-nspawn" "$SUITE" debootstrap systemd-container
        unpack "$HOME_DIR/apt" "$HOME_DIR/unpacked" "$RECIPE"
        rm -rf "$HOME_DIR/apt"
    fi
    write_launcher
    "$HOME_DIR/bin/systemd-nspawn" --version >/dev/null ||
        fail "the unpacked systemd-nspawn does not start (see above)" "remove $HOME_DIR and try again"
    if [[ $(cat "$HOME_DIR/system/recipe" 2>/dev/null) != "recipe $RECIPE" ]]; then
        [[ -n ${MIRROR:-} ]] || find_mirror
        install_system
    fi
    say "Debian $(cat "$HOME_DIR/system/etc/debian_version") with $(sed -n 's/^systemd-container /systemd /p' "$HOME_DIR/unpacked/packages") is here: $HOME_DIR/system"
}

main "$@"
