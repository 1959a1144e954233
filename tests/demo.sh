#!/usr/bin/env bash
#
# Shows the product at work on small programs, from nothing to metrics and findings: `make demo`.
# Everything it starts it also ends; the host is left as it was but for target/.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly PROGRAM=tests/programs/music.py
readonly BROKEN=tests/programs/mends.py
readonly STUCK_AFTER=4

heading() { printf '\n==> %s\n' "$*"; }
fail() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

work=$(mktemp -d)
program_pid='' broken_pid='' agent_pid=''

end_everything() {
    local status=$? pid
    trap - EXIT
    for pid in $agent_pid $program_pid $broken_pid; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
    exit "$status"
}
trap end_everything EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Whether $1 is a Python that agentctl can read: 3.14 or newer, with tasks made in C.
is_suitable() {
    "$1" -c '
import sys
if sys.version_info < (3, 14) or sys.version_info >= (3, 16):
    sys.exit(1)
import asyncio, _asyncio
sys.exit(asyncio.Task is not _asyncio.Task)' 2>/dev/null
}

find_python() {
    local name path
    for name in python3.14 python3.15 python3 python; do
        path=$(command -v "$name" || true)
        if [[ -n $path ]] && is_suitable "$path"; then
            python=$path
            echo "using $("$path" --version) from PATH: $path"
            return
        fi
    done
    echo "no Python 3.14 or 3.15 on PATH; bringing one into target/interpreters (not installed)"
    tests/interpreters.sh 3.14
    python=$PWD/target/interpreters/bin/python3.14
}

# Waits until $1 succeeds; gives up when the process $2 has ended or after 20 seconds.
wait_until() {
    local n
    for ((n = 0; n < 200; n++)); do
        if "$1"; then return; fi
        kill -0 "$2" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

program_stands() { [[ -s $work/truth ]]; }
broken_stands() { [[ -s $work/broken.truth ]]; }
both_are_found() {
    local found
    found=$(fetch /api/v1/findings)
    [[ $found == *await_cycle* && $found == *stuck_task* ]]
}
agent_listens() {
    address=$(sed -n -E 's/.*listening.*address="?([0-9.]+:[0-9]+)"?.*/\1/p' "$work/agent.log")
    [[ -n $address ]]
}

# Prints the body of what the agent serves at $1. Bash speaks TCP, so no other tool is needed.
fetch() {
    exec 7<>"/dev/tcp/${address%:*}/${address##*:}"
    printf 'GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n' "$1" "$address" >&7
    sed -e '1,/^\r*$/d' <&7
    exec 7>&-
}

heading "A Python whose asyncio can be watched"
find_python

heading "Building agentctl and asyncio-agent (the first time takes some minutes)"
export PATH=$PATH:$HOME/.cargo/bin
command -v cargo >/dev/null || fail "Rust is missing: see https://rustup.rs"
cargo build --release &
build_pid=$!
for ((seconds = 0; ; seconds++)); do
    kill -0 "$build_pid" 2>/dev/null || break
    ((seconds == 0 || seconds % 20)) || echo "  still building after $seconds s"
    sleep 1
done
wait "$build_pid" || fail "the build failed"
bin=$PWD/${CARGO_TARGET_DIR:-target}/release
[[ ${CARGO_TARGET_DIR:-} == /* ]] && bin=$CARGO_TARGET_DIR/release

heading "Starting the example, $PROGRAM: an album with tracks in a TaskGroup, twice"
mkfifo "$work/stdin"
# Held open by this shell alone: the program ends when its standard input does.
exec 8<>"$work/stdin"
"$python" "$PROGRAM" <"$work/stdin" >"$work/truth" 8>&- &
program_pid=$!
wait_until program_stands "$program_pid" || fail "the example did not start"
echo "running as process $program_pid"

heading "agentctl ps $program_pid"
if ! "$bin/agentctl" ps "$program_pid"; then
    if [[ $(cat /proc/sys/kernel/yama/ptrace_scope 2>/dev/null || echo 0) != 0 && $(id -u) != 0 ]]; then
        fail "this kernel lets only root read other processes (kernel.yama.ptrace_scope); run the demo as root"
    fi
    fail "agentctl failed"
fi

heading "agentctl pstree $program_pid"
"$bin/agentctl" pstree "$program_pid"

heading "Starting a broken program, $BROKEN: two tasks await each other, one waits for an answer that never comes"
mkfifo "$work/broken.stdin"
exec 9<>"$work/broken.stdin"
"$python" "$BROKEN" <"$work/broken.stdin" >"$work/broken.truth" 8>&- 9>&- &
broken_pid=$!
wait_until broken_stands "$broken_pid" || fail "the broken program did not start"
echo "cycle stick" >&9
echo "running as process $broken_pid"

heading "asyncio-agent watches both, every half second"
cat >"$work/agent.yaml" <<CONFIG
web:
  listen: 127.0.0.1:0
targets:
  - name: music
    match: {pid: $program_pid}
    interval: 500ms
  - name: broken
    match: {pid: $broken_pid}
    interval: 500ms
analysis:
  cycles: {confirmations: 2}      # this many rounds must see a cycle
  stuck: {after: ${STUCK_AFTER}s}              # by default a minute
CONFIG
sed 's/^/    /' "$work/agent.yaml"
: >"$work/agent.log"
"$bin/asyncio-agent" --config "$work/agent.yaml" >"$work/agent.log" 2>&1 8>&- 9>&- &
agent_pid=$!
if ! wait_until agent_listens "$agent_pid"; then
    cat "$work/agent.log" >&2
    fail "the agent did not start"
fi
echo "waiting until it has found the cycle and, after $STUCK_AFTER seconds, the stuck task"
if ! wait_until both_are_found "$agent_pid"; then
    cat "$work/agent.log" >&2
    fail "the agent did not find what is wrong"
fi

heading "What its log says, with the way round the cycle and the place where the task waits"
sed -n -E 's/^time=[^ ]+ level=(warn|info) msg="(found[^"]*)"/\1: \2/p' "$work/agent.log"

heading "What it serves on http://$address/metrics"
fetch /metrics >"$work/metrics"
grep '^asyncio_' "$work/metrics" | grep -v -E '_bucket|_total\{(code|limit)=' || fail "no metrics"
grep -q -E '^asyncio_target_up\{target="music"\} 1' "$work/metrics" || fail "the agent does not see the example"

heading "The two series that an alert would go by: the example is healthy, the other program is not"
grep -E '^asyncio_(await_cycles|stuck_tasks)\{' "$work/metrics"
for expected in 'await_cycles{target="broken"} 1' 'stuck_tasks{target="broken"} 1' \
    'await_cycles{target="music"} 0' 'stuck_tasks{target="music"} 0'; do
    grep -q -F "asyncio_$expected" "$work/metrics" || fail "asyncio_$expected is not there"
done

heading "What it serves on http://$address/api/v1/findings"
echo "(of each the beginning; its tasks with their stacks follow there)"
fetch /api/v1/findings | sed 's/{"target"/\n{"target"/g' | sed -E 's/,"tasks":.*/, .../'
echo
echo "and the tasks of a process as they are now, on http://$address/api/v1/targets/$broken_pid/pstree:"
fetch "/api/v1/targets/$broken_pid/pstree"

heading "Ending all three"
kill -TERM "$agent_pid"
wait "$agent_pid" || fail "the agent ended with status $?"
agent_pid=''
exec 8>&- 9>&-
wait "$program_pid" || fail "the example ended with status $?"
program_pid=''
wait "$broken_pid" || fail "the broken program ended with status $?"
broken_pid=''
echo "done. Try it on your own: $bin/agentctl pstree PID"
