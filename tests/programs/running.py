"""A task that computes without end, so that it is always running; others wait for it."""

import asyncio
import threading

from _truth import Truth, call_when_idle, park, wait_for_stdin

truth = Truth()


def compute():
    truth.announce()
    n = 0
    while True:
        n = (n * 31 + 7) % 1_000_003


async def busy():
    await others_stand_still()
    compute()


async def others_stand_still():
    future = asyncio.get_running_loop().create_future()
    call_when_idle(asyncio.get_running_loop(), lambda: future.set_result(None))
    await future


async def leaf():
    await park()


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", ["main"])
    task = asyncio.create_task(busy(), name="busy")
    truth.task(task, "busy", ["...", "compute", "busy"], [me], state="running")
    quiet = asyncio.create_task(leaf(), name="quiet")
    truth.task(quiet, "quiet", ["sleep", "park", "leaf"], [me])
    await asyncio.gather(task, quiet)


threading.Thread(target=wait_for_stdin, daemon=True).start()
asyncio.run(main())
