#!/usr/bin/env bash
#
# Brings Chromium without a window from Debian's packages into target/browser, for the tests. Nothing is
# installed and no root is needed. What it leaves behind:
#
#   target/browser/unpacked/root       the unpacked packages
#   target/browser/unpacked/packages   what was unpacked, one "name version" a line
#   target/browser/bin/chromium        starts it

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly HOME_DIR=$PWD/target/browser
# Raised when what this script leaves behind changes, so that older leavings are replaced.
readonly RECIPE=1
readonly NAME=browser
readonly PROGRAM=usr/lib/chromium/chromium-headless-shell
# The oldest Debian that we run on: its programs also run on the C library of any newer one.
readonly SUITE=bookworm
. tests/packages.sh

# The launcher execs, so its pid is the browser's. It finds its files from where it stands.
write_launcher() {
    local root=$HOME_DIR/unpacked/root libraries
    libraries=$(first_of "$root" 'usr/lib/*-linux-gnu*')
    [[ -n $libraries && -e $root/$PROGRAM ]] ||
        fail "Chromium came without what it needs" "remove $HOME_DIR and try again"
    mkdir -p "$HOME_DIR/bin" "$HOME_DIR/home"
    cat >"$HOME_DIR/fonts.conf" <<'FONTS'
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir prefix="relative">unpacked/root/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
FONTS
    cat >"$HOME_DIR/bin/.chromium" <<LAUNCHER
#!/bin/sh
# Starts the unpacked Chromium with its own libraries and fonts.
self=\$(readlink -f "\$0")
home=\${self%/*/*}
root=\$home/unpacked/root
LD_LIBRARY_PATH=\$root/$libraries:\$root/$libraries/pulseaudio
FONTCONFIG_FILE=\$home/fonts.conf HOME=\$home/home XDG_CACHE_HOME=\$home/home XDG_CONFIG_HOME=\$home/home
export LD_LIBRARY_PATH FONTCONFIG_FILE HOME XDG_CACHE_HOME XDG_CONFIG_HOME
exec "\$root/$PROGRAM" "\$@"
LAUNCHER
    chmod +x "$HOME_DIR/bin/.chromium"
    mv "$HOME_DIR/bin/.chromium" "$HOME_DIR/bin/chromium"
}

main() {
    lock "$HOME_DIR"
    if ! is_complete "$HOME_DIR/unpacked" "$RECIPE"; then
        download "$HOME_DIR/apt" "Chromium" "$SUITE" chromium-headless-shell fonts-dejavu-core
        # Chromium starts itself again (/proc/self/exe) and finds its files beside that. So it is not started by
        # way of an unpacked loader, as other programs are, but by the host's; the C library must be the same.
        rm -f "$HOME_DIR"/apt/cache/archives/libc6_*.deb
        unpack "$HOME_DIR/apt" "$HOME_DIR/unpacked" "$RECIPE"
    fi
    write_launcher
    "$HOME_DIR/bin/chromium" --version >/dev/null ||
        fail "the unpacked Chromium does not start (see above)" "remove $HOME_DIR and try again" \
            "it needs the C library of Debian 12 or a newer one"
    rm -rf "$HOME_DIR/apt"
    say "$(sed -n 's/^chromium-headless-shell /Chromium /p' "$HOME_DIR/unpacked/packages") is here: $HOME_DIR/bin"
}

main "$@"
