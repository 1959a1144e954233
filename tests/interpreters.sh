#!/usr/bin/env bash
#
# Brings CPython from Debian's packages into target/interpreters, for the demo and the live tests.
# Nothing is installed: apt-get works in folders of its own, the packages are only unpacked, and no
# root is needed. What it leaves behind:
#
#   target/interpreters/3.14/root      the unpacked packages (a small system one can chroot into)
#   target/interpreters/3.14/packages  what was unpacked, one "name version" a line
#   target/interpreters/bin/python3.14 starts that interpreter from anywhere
#
# usage: tests/interpreters.sh [VERSION]...      3.14 and 3.15, and 3.11 and 3.13 (which the tests
#                                                expect to be refused), if none is named

set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly HOME_DIR=$PWD/target/interpreters
# Raised when what this script leaves behind changes, so that older leavings are replaced.
readonly RECIPE=2
readonly NAME=interpreters
. tests/packages.sh

packages_of() {
    case $1 in
        # Debian builds uvloop for its default Python only.
        3.14) echo python3.14 libpython3.14 python3-uvloop ;;
        3.15) echo python3.15 libpython3.15 ;;
        3.11 | 3.13) echo "python$1" ;;
        *) fail "Python $1 is not one of 3.11, 3.13, 3.14, 3.15" ;;
    esac
}

suite_of() {
    case $1 in
        3.11) echo bookworm ;;
        3.13) echo trixie ;;
        *) echo sid ;;
    esac
}

# The launcher execs, so its pid is the interpreter's. It finds its files from where it stands.
write_launcher() {
    local version=$1 root=$HOME_DIR/$1/root loader libraries
    loader=$(first_of "$root" 'usr/lib64/ld-linux-*.so.*' 'usr/lib/ld-linux-*.so.*')
    libraries=$(first_of "$root" 'usr/lib/*-linux-gnu*')
    [[ -n $loader && -n $libraries ]] || fail "Python $version came without its C library" \
        "remove $HOME_DIR and try again"
    mkdir -p "$HOME_DIR/bin"
    cat >"$HOME_DIR/bin/.python$version" <<LAUNCHER
#!/bin/sh
# Starts the unpacked Python $version with its own C library, and with nothing of the host's Python.
self=\$(readlink -f "\$0")
root=\${self%/*/*}/$version/root
unset PYTHONPATH PYTHONSTARTUP PYTHONEXECUTABLE PYTHONPLATLIBDIR VIRTUAL_ENV __PYVENV_LAUNCHER__
PYTHONHOME=\$root/usr PYTHONDONTWRITEBYTECODE=1 PYTHONNOUSERSITE=1
export PYTHONHOME PYTHONDONTWRITEBYTECODE PYTHONNOUSERSITE
exec "\$root/$loader" --library-path "\$root/$libraries" --argv0 "\$self" "\$root/usr/bin/python$version" "\$@"
LAUNCHER
    chmod +x "$HOME_DIR/bin/.python$version"
    mv "$HOME_DIR/bin/.python$version" "$HOME_DIR/bin/python$version"
}

bring() {
    local version=$1 apt
    apt=$HOME_DIR/apt/$(suite_of "$version")
    if is_complete "$HOME_DIR/$version" "$RECIPE"; then
        write_launcher "$version"
        say "$(sed -n "s/^python$version /Python /p" "$HOME_DIR/$version/packages") is here: $HOME_DIR/bin/python$version"
        return
    fi
    # shellcheck disable=SC2046 # a list of words
    download "$apt" "Python $version" "$(suite_of "$version")" $(packages_of "$version")
    unpack "$apt" "$HOME_DIR/$version" "$RECIPE"
    write_launcher "$version"
    "$HOME_DIR/bin/python$version" -c 'import asyncio, _asyncio' ||
        fail "the unpacked Python $version does not start (see above)" "remove $HOME_DIR and try again"
    say "ready: $HOME_DIR/bin/python$version ($("$HOME_DIR/bin/python$version" --version))"
}

main() {
    local versions=("$@") version
    ((${#versions[@]})) || versions=(3.14 3.15 3.11 3.13)
    for version in "${versions[@]}"; do packages_of "$version" >/dev/null; done
    lock "$HOME_DIR"
    for version in "${versions[@]}"; do bring "$version"; done
    rm -rf "$HOME_DIR/apt"
}

main "$@"
