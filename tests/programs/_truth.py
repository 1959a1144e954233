"""What a program of this folder knows of its own tasks, told as one line of JSON.

A program declares each of its tasks with what its author knows (name, stack, awaiters), parks, and
calls `announce_when_idle` in every loop that it runs. Once no loop has anything left to do the line
is printed. The process then stays as it is until its standard input is closed.

The line: {"ready": true, "tasks": [{"id", "name", "stack", "awaited_by", "state", "cancelling",
"thread", "interpreter", "lines"?}], "note"}. Ids are `hex(id(task))`. A stack is a list of qualified
names, innermost first; a first entry "..." stands for any number of frames. Lone surrogates of names
are given as U+FFFD, since JSON in UTF-8 cannot hold them.

With STAY_AWAKE in the environment the process goes on computing in one more thread, so that it never
sleeps.

Nothing here calls `task.get_name()`: that would change how the task keeps a default name.
"""

import asyncio
import json
import os
import re
import sys
import threading

# Far longer than any test takes.
FOREVER = 1_000_000


class Truth:
    """Collects what is known of the tasks, and tells it when the program stands still."""

    def __init__(self, note="", *, loops=1):
        self.note = note
        self.entries = []
        # The tasks must outlive this object's user, as their ids are told.
        self.tasks = []
        self._loops_to_wait_for = loops
        self._lock = threading.Lock()

    def task(
        self,
        task,
        name,
        stack,
        awaited_by=(),
        *,
        state="suspended",
        cancelling=False,
        thread=None,
        interpreter=0,
        lines=False,
    ):
        """Declares a task; returns it. `lines` also looks up the line of each frame."""
        entry = {
            "id": hex(id(task)),
            "name": re.sub("[\ud800-\udfff]", "\ufffd", name),
            "stack": stack,
            "awaited_by": [hex(id(awaiter)) for awaiter in awaited_by],
            "state": state,
            "cancelling": cancelling,
            "thread": threading.get_native_id() if thread is None else thread,
            "interpreter": interpreter,
        }
        with self._lock:
            self.tasks.append((task, entry, lines))
            self.entries.append(entry)
        return task

    def announce_when_idle(self, loop=None, *, fill=None, watch_stdin=True):
        """Has the truth told when this loop, as the last one, has no callback left to run.

        `fill` is called right before, in the loop's thread, to declare what is only known then.
        """
        loop = loop or asyncio.get_running_loop()
        if watch_stdin and threading.current_thread() is threading.main_thread():
            end_with_stdin(loop)

        def idle():
            if fill is not None:
                fill()
            self.loop_is_idle()

        call_when_idle(loop, idle)

    def loop_is_idle(self):
        """Notes that one more loop stands still, and tells the truth if it was the last."""
        with self._lock:
            self._loops_to_wait_for -= 1
            told = self._loops_to_wait_for == 0
        if told:
            self.announce()

    def as_json(self):
        """The line."""
        for task, entry, lines in self.tasks:
            if lines:
                entry["lines"] = lines_of(task.get_coro())
        return json.dumps({"ready": True, "tasks": self.entries, "note": self.note})

    def announce(self):
        """Tells the truth now."""
        announce_line(self.as_json())


def compute():
    while True:
        pass


def announce_line(line):
    """Writes the line in one go, past Python's own buffers."""
    if "STAY_AWAKE" in os.environ:
        threading.Thread(target=compute, daemon=True).start()
    data = (line + "\n").encode("ascii")
    while data:
        data = data[os.write(1, data) :]


def call_when_idle(loop, callback, rounds=200):
    """Calls back once the loop has nothing else that is ready to run."""
    ready = getattr(loop, "_ready", None)

    def check(left):
        # uvloop does not show its queue; there, many rounds in which everything could run must do.
        busy = left > 0 if ready is None else len(ready) > 0
        if busy:
            loop.call_soon(check, left - 1)
        else:
            callback()

    loop.call_soon(check, rounds)


def end_with_stdin(loop):
    """Ends the process when its standard input is closed."""

    def readable():
        if not os.read(0, 65536):
            os._exit(0)

    try:
        loop.add_reader(0, readable)
    except (OSError, ValueError):
        # A file or /dev/null: nothing to wait for, so run until killed.
        pass


def wait_for_stdin():
    """The same for a main thread that runs no loop: blocks."""
    while os.read(0, 65536):
        pass
    os._exit(0)


def use_python_tasks():
    """Makes asyncio ask tasks implemented in Python which of them is current, and who awaits them, as
    programs must that use them: groups and gather() know neither otherwise."""
    for module in [asyncio, asyncio.tasks]:
        module.current_task = asyncio.tasks._py_current_task
    for name in ["future_add_to_awaited_by", "future_discard_from_awaited_by"]:
        setattr(asyncio.futures, name, getattr(asyncio.futures, f"_py_{name}"))


def lines_of(coroutine):
    """The [file, line] of each frame, innermost first, as the interpreter itself sees them."""
    found = []
    while coroutine is not None:
        if hasattr(coroutine, "cr_frame"):
            frame, coroutine = coroutine.cr_frame, coroutine.cr_await
        elif hasattr(coroutine, "gi_frame"):
            frame, coroutine = coroutine.gi_frame, coroutine.gi_yieldfrom
        elif hasattr(coroutine, "ag_frame"):
            frame, coroutine = coroutine.ag_frame, coroutine.ag_await
        else:
            break
        if frame is None:
            break
        found.append([frame.f_code.co_filename, frame.f_lineno])
    return found[::-1]


async def park():
    """Waits for good, as a leaf of a stack: its frame is `sleep`, called from here."""
    await asyncio.sleep(FOREVER)


# The stack of a task that waits for its TaskGroup, below the function that opened it.
IN_TASK_GROUP = ["TaskGroup._aexit", "TaskGroup.__aexit__"]

sys.dont_write_bytecode = True
