"""What CPython's own asyncio tool prints for snapshots that we saved.

Run by the interpreter whose tool is asked (3.14 or later):

    python3.14 oracle.py ps SNAPSHOT.json         the table
    python3.14 oracle.py pstree SNAPSHOT.json     the tree, or the cycles on stderr and exit status 1
    python3.14 oracle.py each < SNAPSHOTS         a snapshot per line in, per line out
                                                  {"ps": .., "pstree": .., "pstree_errors": ..}
    python3.14 oracle.py sets < KEYS              keys per line in, the order of a set of them out

The tool's own functions do all the work. Only the place where it would read a process is replaced.
"""

import contextlib
import io
import json
import sys
from asyncio import tools


class Frame:
    """A stack entry as both 3.14 (`lineno`) and 3.15 (`location`) want to see it."""

    def __init__(self, entry):
        self.funcname = entry["funcname"]
        self.filename = entry.get("filename")
        self.lineno = entry.get("lineno")
        self.location = None if self.lineno is None else self


class Stack:
    """A coroutine stack and whose it is. CPython calls the id `task_name`."""

    def __init__(self, frames, task_id):
        self.call_stack = awaited_only(frames)
        self.task_name = task_id


class Task:
    def __init__(self, entry):
        self.task_id = int(entry["task_id"], 0)
        self.task_name = entry.get("task_name")
        self.coroutine_stack = [Stack(entry.get("coroutine_stack", ()), self.task_id)]
        self.awaited_by = [
            Stack(awaiter.get("call_stack", ()), int(awaiter["task_id"], 0))
            for awaiter in entry.get("awaited_by", ())
        ]


class Thread:
    def __init__(self, entry):
        self.thread_id = entry["thread_id"]
        self.awaited_by = [Task(task) for task in entry["tasks"]]


def awaited_only(entries):
    """The frames that CPython's reader gets to: it follows awaits from the outermost one inwards."""
    frames = []
    for entry in reversed(entries):
        if entry.get("via", "await") != "await":
            break
        frames.insert(0, Frame(entry))
    return frames


def printed(show, snapshot):
    """Standard output, error output and exit status of one of the tool's commands; nothing where the
    tool itself fails, as it does on a task without a name."""
    tools.get_all_awaited_by = lambda pid: [Thread(thread) for thread in snapshot["threads"]]
    out, errors, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            show(0)
        except SystemExit as ending:
            status = ending.code
        except TypeError:
            return None, None, 1
    return out.getvalue(), errors.getvalue(), status


def each():
    for line in sys.stdin:
        snapshot = json.loads(line)
        table, _, _ = printed(tools.display_awaited_by_tasks_table, snapshot)
        tree, errors, _ = printed(tools.display_awaited_by_tasks_tree, snapshot)
        print(json.dumps({"ps": table, "pstree": tree, "pstree_errors": errors}))


def sets():
    for line in sys.stdin:
        members = set()
        for key in line.split():
            members.add(int(key))
        print(*members)


def main():
    sys.setrecursionlimit(100_000)
    command = sys.argv[1]
    if command in ("each", "sets"):
        each() if command == "each" else sets()
        return 0
    show = {
        "ps": tools.display_awaited_by_tasks_table,
        "pstree": tools.display_awaited_by_tasks_tree,
    }[command]
    with open(sys.argv[2], encoding="utf-8") as file:
        out, errors, status = printed(show, json.load(file))
    sys.stdout.write(out)
    sys.stderr.write(errors)
    return status


if __name__ == "__main__":
    sys.exit(main())
