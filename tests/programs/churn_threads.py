"""Starts and ends tasks without a pause, in three loops of lasting threads and in threads that end as
soon as their loop has run a little. Those leave tasks behind, which move to the list of the interpreter.
The argument says how many tasks: hundreds, thousands or tens-of-thousands a second (thousands without
one). What can be judged of them is told in `_churn.py`."""

import asyncio
import sys
import threading
import time
from collections import deque

import _churn
from _truth import wait_for_stdin

LASTING_THREADS = 3
# Loops whose thread has ended, and whose tasks have not.
LEFT_BEHIND = 12


def run_short(ended):
    """A thread's whole life; gives its loop and those of its tasks that are not done to `ended`."""
    loop = asyncio.new_event_loop()
    tasks = []

    def begin():
        nobody = [_churn.in_group, _churn.in_gather, _churn.sharing, _churn.cancelling, _churn.deep]
        for function in nobody:
            tasks.append(_churn.start_root(loop, function))

    loop.call_soon(begin)
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    ended.append((loop, tasks))


def finish(loop, tasks):
    """Cancels all tasks of an ended thread's loop in this thread, which runs them to their end."""
    for task in asyncio.all_tasks(loop):
        task.cancel()
    while not all(task.done() for task in tasks) or asyncio.all_tasks(loop):
        loop.call_later(0.002, loop.stop)
        loop.run_forever()
    loop.close()


def come_and_go(pause):
    """Starts thread after thread, and ends what they leave behind: every other time by forgetting it."""
    ended = deque()
    for number in range(1_000_000_000):
        thread = threading.Thread(target=run_short, args=[ended], daemon=True)
        thread.start()
        if number % 2:
            thread.join()
        while len(ended) > LEFT_BEHIND:
            loop, tasks = ended.popleft()
            if number % 2:
                finish(loop, tasks)
            else:
                loop.close()
        time.sleep(pause)


_churn.set_up()
n_workers = _churn.set_rate(sys.argv[1:])
lasting_loops = threading.Barrier(LASTING_THREADS, action=_churn.announce)
for _ in range(LASTING_THREADS):
    arguments = [n_workers // LASTING_THREADS, lasting_loops.wait]
    threading.Thread(target=_churn.run_main, args=arguments, daemon=True).start()
threading.Thread(target=come_and_go, args=[_churn.mean_pause / 2], daemon=True).start()
wait_for_stdin()
