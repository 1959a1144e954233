#!/usr/bin/env bash
#
# Installs a small Debian with systemd 257 into target/machine/system, which the tests boot. They write to none of its
# files. It takes root, as booting does, and what tests/systemd.sh brings. Nothing of the host is changed.

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly HOME_DIR=$PWD/target/machine
readonly DEBOOTSTRAP=$PWD/target/systemd/unpacked/root/usr
# Raised when what this script leaves behind changes, so that older leavings are replaced.
readonly RECIPE=1
readonly NAME=machine
readonly SUITE=trixie
. tests/packages.sh

check_host() {
    ((EUID == 0)) || fail "installing a Debian and booting it takes root" "sudo make $NAME, or run the tests as root"
    [[ -x $DEBOOTSTRAP/sbin/debootstrap ]] || fail "there is no debootstrap" "run tests/systemd.sh first (make machine does)"
    local tool
    for tool in chroot mount nsenter setpriv wget; do
        command -v "$tool" >/dev/null || fail "there is no $tool" "apt-get install coreutils mount util-linux wget"
    done
}

install_system() {
    local system=$HOME_DIR/system partial=$HOME_DIR/system.partial
    say "installing Debian $SUITE (about 80 MB to load, a minute to install)"
    rm -rf "$partial"
    DEBOOTSTRAP_DIR=$DEBOOTSTRAP/share/debootstrap \
        sh "$DEBOOTSTRAP/sbin/debootstrap" --variant=minbase --keyring="${KEYRING%%,*}" \
        --include=systemd,systemd-sysv "$SUITE" "$partial" "$MIRROR" >"$HOME_DIR/debootstrap.log" 2>&1 ||
        fail "Debian cannot be installed: $(tail -n 3 "$HOME_DIR/debootstrap.log" | tr '\n' ' ')" \
            "$HOME_DIR/debootstrap.log and $partial/debootstrap/debootstrap.log say more"
    # What is not needed any more, and an id of the machine, which each boot is to make anew.
    rm -rf "$partial"/var/cache/apt/archives/*.deb "$partial"/var/lib/apt/lists/*
    : >"$partial/etc/machine-id"
    echo "recipe $RECIPE" >"$partial/recipe"
    # Only a finished system gets the final name, so a run that was killed leaves nothing to trust.
    rm -rf "$system"
    mv "$partial" "$system"
}

main() {
    check_host
    lock "$HOME_DIR"
    if [[ $(cat "$HOME_DIR/system/recipe" 2>/dev/null) != "recipe $RECIPE" ]]; then
        find_mirror
        install_system
    fi
    say "Debian $(cat "$HOME_DIR/system/etc/debian_version") is here: $HOME_DIR/system"
}

main "$@"
