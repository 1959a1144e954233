#!/usr/bin/env bash
#
# Brings Prometheus, promtool, Alertmanager and VictoriaMetrics from Debian's packages into target/servers, for the tests.
# Nothing is installed and no root is needed. What it leaves behind:
#
#   target/servers/unpacked/root       the unpacked packages
#   target/servers/unpacked/packages   what was unpacked, one "name version" a line
#   target/servers/bin/NAME   starts prometheus, promtool, prometheus-alertmanager or victoria-metrics; paths
#                             must be absolute

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly HOME_DIR=$PWD/target/servers
# Raised when what this script leaves behind changes, so that older leavings are replaced.
readonly RECIPE=2
readonly NAME=servers
readonly PROGRAMS=(prometheus promtool prometheus-alertmanager victoria-metrics)
. tests/packages.sh

# The launcher execs, so its pid is the program's. It finds its files from where it stands.
write_launcher() {
    local program=$1 root=$HOME_DIR/unpacked/root loader libraries
    loader=$(first_of "$root" 'usr/lib64/ld-linux-*.so.*' 'usr/lib/ld-linux-*.so.*')
    libraries=$(first_of "$root" 'usr/lib/*-linux-gnu*')
    [[ -n $loader && -n $libraries && -e $root/usr/bin/$program ]] ||
        fail "$program came without what it needs" "remove $HOME_DIR and try again"
    # Debian's Alertmanager has its templates at a fixed place. Unpacked, they are below the folder that it is
    # started in. The path keeps its length, so that the file stays a program.
    LC_ALL=C sed -i 's#/usr/share/prometheus/alertmanager#.////share/prometheus/alertmanager#g' \
        "$root/usr/bin/$program"
    mkdir -p "$HOME_DIR/bin"
    cat >"$HOME_DIR/bin/.$program" <<LAUNCHER
#!/bin/sh
# Starts the unpacked $program with its own C library.
self=\$(readlink -f "\$0")
root=\${self%/*/*}/unpacked/root
cd "\$root/usr" || exit 1
exec "\$root/$loader" --library-path "\$root/$libraries" "\$root/usr/bin/$program" "\$@"
LAUNCHER
    chmod +x "$HOME_DIR/bin/.$program"
    mv "$HOME_DIR/bin/.$program" "$HOME_DIR/bin/$program"
}

main() {
    lock "$HOME_DIR"
    if ! is_complete "$HOME_DIR/unpacked" "$RECIPE"; then
        download "$HOME_DIR/apt" "Prometheus and VictoriaMetrics" sid "${PROGRAMS[@]}"
        unpack "$HOME_DIR/apt" "$HOME_DIR/unpacked" "$RECIPE"
    fi
    local program
    for program in "${PROGRAMS[@]}"; do write_launcher "$program"; done
    "$HOME_DIR/bin/promtool" --version >/dev/null ||
        fail "the unpacked promtool does not start (see above)" "remove $HOME_DIR and try again"
    rm -rf "$HOME_DIR/apt"
    say "$(sed -n 's/^prometheus /Prometheus /p' "$HOME_DIR/unpacked/packages") is here: $HOME_DIR/bin"
}

main "$@"
