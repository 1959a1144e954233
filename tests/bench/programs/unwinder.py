"""CPython's own reader, at the other end of a pipe: for each line of input one line of JSON.

`new` makes a RemoteUnwinder, `scan` reads the task graph, `dump` does and tells it in full. Times are
those of the call alone, in nanoseconds."""

import gc
import json
import sys
import time

import _remote_debugging

pid = int(sys.argv[1])
unwinder = None


def timed(call):
    start = time.perf_counter_ns()
    try:
        result, error = call(), None
    except (RuntimeError, OSError, UnicodeDecodeError, MemoryError, ValueError) as caught:
        # The message that explains most is that of the innermost exception.
        while caught.__context__ is not None:
            caught = caught.__context__
        result, error = None, f"{type(caught).__name__}: {caught}"
    return result, {"ns": time.perf_counter_ns() - start, "error": error}


def line_of(frame):
    """The line of a frame, which 3.14 has as such and 3.15 in a location."""
    if hasattr(frame, "lineno"):
        return frame.lineno
    return frame.location.lineno if frame.location else None


def told(threads):
    return [
        {
            "tid": thread.thread_id,
            "tasks": [
                {
                    "id": task.task_id,
                    "name": task.task_name,
                    "frames": [
                        [frame.funcname, frame.filename, line_of(frame)]
                        for stack in task.coroutine_stack
                        for frame in stack.call_stack
                    ],
                    "awaiters": [awaiter.task_name for awaiter in task.awaited_by],
                }
                for task in thread.awaited_by
            ],
        }
        for thread in threads
    ]


for line in sys.stdin:
    command = line.strip()
    if command == "new":
        unwinder, answer = timed(lambda: _remote_debugging.RemoteUnwinder(pid))
    elif command == "new and scan":
        result, answer = timed(lambda: _remote_debugging.RemoteUnwinder(pid).get_all_awaited_by())
    else:
        result, answer = timed(unwinder.get_all_awaited_by)
        if result is not None:
            answer["tasks"] = sum(len(thread.awaited_by) for thread in result)
            if command == "dump":
                answer["threads"] = told(result)
    result = None
    gc.collect(0)
    print(json.dumps(answer), flush=True)
