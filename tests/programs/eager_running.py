"""A task that computes without end in its eager first step, inside the task that made it."""

import asyncio
import threading

from _truth import Truth, park, wait_for_stdin

truth = Truth()


def compute():
    truth.announce()
    n = 0
    while True:
        n = (n * 31 + 7) % 1_000_003


async def child():
    stack = ["...", "compute", "child"]
    truth.task(asyncio.current_task(), "child", stack, state="running")
    compute()


async def leaf():
    await park()


def make_child():
    asyncio.get_running_loop().create_task(child(), name="child", eager_start=True)


async def handler():
    make_child()


async def main():
    me = asyncio.current_task()
    stack = ["BaseEventLoop.create_task", "make_child", "handler", "main"]
    truth.task(me, "Task-1", stack, state="running")
    quiet = asyncio.create_task(leaf(), name="quiet")
    truth.task(quiet, "quiet", ["sleep", "park", "leaf"])
    await asyncio.sleep(0.01)
    await handler()


threading.Thread(target=wait_for_stdin, daemon=True).start()
asyncio.run(main())
