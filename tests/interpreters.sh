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
readonly STANDARD_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
# Raised when what this script leaves behind changes, so that older leavings are replaced.
readonly RECIPE=2

say() { printf '[interpreters] %s\n' "$*"; }
fail() {
    printf '[interpreters] error: %s\n' "$1" >&2
    shift
    local line
    for line in "$@"; do printf '[interpreters]        %s\n' "$line" >&2; done
    exit 1
}

trap 'fail "line $LINENO failed: $BASH_COMMAND"' ERR

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

is_complete() {
    [[ -f $HOME_DIR/$1/packages ]] && [[ $(head -n 1 "$HOME_DIR/$1/packages") == "recipe $RECIPE" ]]
}

# Prints "URI<tab>signed-by" of every stanza of deb822 files that offers Debian's own archive.
deb822_sources() {
    awk '
        function flush_stanza(   uris, n, i, m, suites, known) {
            known = 0
            m = split(field["suites"], suites, " ")
            for (i = 1; i <= m; i++)
                if (suites[i] ~ /^(bullseye|bookworm|trixie|forky|duke|sid|unstable|testing|stable|oldstable)$/) known = 1
            n = split(field["uris"], uris, " ")
            if (known && field["types"] ~ /(^| )deb( |$)/ && field["components"] ~ /(^| )main( |$)/ \
                && tolower(field["enabled"]) !~ /^(no|false|0|off|without|disable)$/)
                for (i = 1; i <= n; i++) print uris[i] "\t" field["signed-by"]
            delete field
            name = ""
        }
        FNR == 1 { flush_stanza() }
        /^#/ { next }
        /^[ \t]*$/ { flush_stanza(); next }
        /^[ \t]/ { sub(/^[ \t]+/, ""); field[name] = field[name] " " $0; next }
        {
            colon = index($0, ":")
            name = tolower(substr($0, 1, colon - 1))
            value = substr($0, colon + 1)
            sub(/^[ \t]+/, "", value); sub(/[ \t]+$/, "", value)
            field[name] = value
        }
        END { flush_stanza() }
    ' "$@"
}

# The same for the one-line format: deb [options] URI suite component...
one_line_sources() {
    awk '
        $1 == "deb" {
            sub(/#.*/, "")
            signed = ""
            if (match($0, /\[[^]]*\]/)) {
                options = substr($0, RSTART + 1, RLENGTH - 2)
                $0 = substr($0, 1, RSTART - 1) " " substr($0, RSTART + RLENGTH)
                n = split(options, option, " ")
                for (i = 1; i <= n; i++)
                    if (option[i] ~ /^signed-by=/) signed = substr(option[i], 11)
            }
            components = ""
            for (i = 4; i <= NF; i++) components = components " " $i
            if ($3 ~ /^(bullseye|bookworm|trixie|forky|duke|sid|unstable|testing|stable|oldstable)$/ && components " " ~ / main /)
                print $2 "\t" signed
        }
    ' "$@"
}

# Sets MIRROR and KEYRING: those of the first Debian archive among the host's apt sources.
find_mirror() {
    MIRROR='' KEYRING=''
    local uri signed
    local files822=() files_line=()
    shopt -s nullglob
    files822=(/etc/apt/sources.list.d/*.sources)
    files_line=(/etc/apt/sources.list.d/*.list)
    shopt -u nullglob
    [[ -s /etc/apt/sources.list ]] && files_line=(/etc/apt/sources.list "${files_line[@]}")
    while IFS=$'\t' read -r uri signed; do
        [[ $uri == http://* || $uri == https://* ]] || continue
        MIRROR=${uri%/}
        # A key written out inside the sources file is not a path; the standard keyring has it too.
        [[ $signed == /* ]] && KEYRING=${signed%% *}
        break
    done < <(
        if ((${#files822[@]})); then deb822_sources "${files822[@]}"; fi
        if ((${#files_line[@]})); then one_line_sources "${files_line[@]}"; fi
    )
    [[ -n $MIRROR ]] || fail "no Debian mirror in /etc/apt" \
        "name one there, as a fresh Debian system does"
    [[ -n $KEYRING && -r ${KEYRING%%,*} ]] || KEYRING=$STANDARD_KEYRING
    [[ -r ${KEYRING%%,*} ]] || fail "the keys of Debian's archive are not at $STANDARD_KEYRING" \
        "install the package debian-archive-keyring"
}

# Writes an apt configuration for the suite $2 that knows no other folder than $1. Of the host's it
# keeps how to get to the network (proxies, time-outs), and nothing that would run host commands.
configure_apt() {
    local apt=$1
    mkdir -p "$apt"/{lists/partial,cache/archives/partial}
    : >"$apt/status"
    printf 'deb [signed-by=%s] %s %s main\n' "$KEYRING" "$MIRROR" "$2" >"$apt/sources.list"
    {
        apt-config dump | grep '^Acquire::' | grep -v '^Acquire::IndexTargets' || true
        cat <<CONFIG
Dir::State "$apt";
Dir::State::Lists "$apt/lists";
Dir::State::Status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
CONFIG
    } >"$apt/apt.conf"
}

# Runs apt-get in the folder $1. Of its many lines, those that tell progress and trouble are shown.
run_apt() {
    local apt=$1
    shift
    APT_CONFIG=$apt/apt.conf apt-get -y -q "$@" 2>&1 |
        sed -n -E '/^ *(Get:|Hit:|Ign:|Err:|Fetched|W:|E:)/s/^/    /p'
}

check_tools() {
    local tool
    for tool in apt-get apt-config dpkg dpkg-deb; do
        command -v "$tool" >/dev/null || fail "this is not a Debian system: no $tool" \
            "the tests unpack Debian's packages of CPython: run them on Debian or in a Debian container"
    done
}

# Fetches the packages of a version and what they need; they are then in $1/cache/archives.
download() {
    local apt=$1 version=$2 suite packages
    suite=$(suite_of "$version")
    packages=$(packages_of "$version")
    check_tools
    [[ -n ${MIRROR:-} ]] || find_mirror
    configure_apt "$apt" "$suite"
    say "Python $version: reading the package lists of Debian $suite from $MIRROR (about 10 MB)"
    # A list that cannot be fetched is only a warning to apt-get, unless told otherwise.
    if ! run_apt "$apt" -o APT::Update::Error-Mode=any update; then
        fail "cannot read the package lists of $MIRROR (see above)" \
            "is the network up? behind a proxy, set http_proxy or Acquire::http::Proxy in /etc/apt/apt.conf.d"
    fi
    rm -f "$apt"/cache/archives/*.deb
    say "Python $version: downloading it and what it needs (about 20 MB)"
    # shellcheck disable=SC2086 # a list of words
    if ! run_apt "$apt" --no-install-recommends --download-only install $packages; then
        fail "cannot download: $packages (see above)" \
            "Debian $suite at $MIRROR must have them; is the mirror complete and the network up?"
    fi
}

unpack() {
    local version=$1 partial=$HOME_DIR/$1.partial deb n=0
    local debs=("$2"/cache/archives/*.deb)
    [[ -e ${debs[0]} ]] || fail "apt-get brought no package for Python $version"
    say "Python $version: unpacking ${#debs[@]} packages"
    rm -rf "$partial"
    mkdir -p "$partial/root"
    # Links that a package of an installed system would have made.
    mkdir -p "$partial/root/usr"/{bin,lib,lib64,sbin} "$partial/root"/{mnt,proc,tmp}
    local link
    for link in bin lib lib64 sbin; do ln -sfn "usr/$link" "$partial/root/$link"; done
    echo "recipe $RECIPE" >"$partial/packages.new"
    for deb in "${debs[@]}"; do
        # Unlike dpkg -x this keeps a link to a folder where a package has the folder.
        dpkg-deb --fsys-tarfile "$deb" | tar -x -f - -C "$partial/root" --keep-directory-symlink || fail "cannot unpack $deb" "is the disk full?"
        dpkg-deb --showformat '${Package} ${Version}\n' --show "$deb" >>"$partial/packages.new"
        n=$((n + 1))
        if ((n % 10 == 0)); then say "  $n of ${#debs[@]}"; fi
    done
    mv "$partial/packages.new" "$partial/packages"
    # Only a finished folder gets the final name, so a run that was killed leaves nothing to trust.
    rm -rf "${HOME_DIR:?}/$version"
    mv "$partial" "$HOME_DIR/$version"
}

# Prints the first path below $1 that one of the other patterns matches.
first_of() {
    local below=$1 pattern match
    shift
    for pattern; do
        # shellcheck disable=SC2086 # a pattern
        for match in $(cd "$below" && echo $pattern); do
            if [[ -e $below/$match ]]; then
                echo "$match"
                return
            fi
        done
    done
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
    if is_complete "$version"; then
        write_launcher "$version"
        say "$(sed -n "s/^python$version /Python /p" "$HOME_DIR/$version/packages") is here: $HOME_DIR/bin/python$version"
        return
    fi
    download "$apt" "$version"
    unpack "$version" "$apt"
    write_launcher "$version"
    "$HOME_DIR/bin/python$version" -c 'import asyncio, _asyncio' ||
        fail "the unpacked Python $version does not start (see above)" "remove $HOME_DIR and try again"
    say "ready: $HOME_DIR/bin/python$version ($("$HOME_DIR/bin/python$version" --version))"
}

main() {
    local versions=("$@") version
    ((${#versions[@]})) || versions=(3.14 3.15 3.11 3.13)
    for version in "${versions[@]}"; do packages_of "$version" >/dev/null; done
    mkdir -p "$HOME_DIR"
    # Two runs at the same time would unpack over each other.
    if command -v flock >/dev/null; then
        exec 9>"$HOME_DIR/.lock"
        flock -n 9 || { say "waiting for another run of this script"; flock 9; }
    fi
    for version in "${versions[@]}"; do bring "$version"; done
    rm -rf "$HOME_DIR/apt"
}

main "$@"
