"""Starts and ends tasks without a pause. A task's name spells its parent's, so every edge can be
judged by the names at its two ends: `parent/child` is awaited by `parent`."""

import asyncio
import itertools
import threading

from _truth import Truth, wait_for_stdin

truth = Truth("churn")
numbers = itertools.count()


async def leaf():
    await asyncio.sleep(0)
    await asyncio.sleep(0.001)


async def branch(name, depth):
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            child = f"{name}/{next(numbers)}"
            coroutine = branch(child, depth - 1) if depth else leaf()
            group.create_task(coroutine, name=child)


async def worker(name):
    while True:
        await branch(name, 2)


async def main():
    async with asyncio.TaskGroup() as group:
        for n in range(8):
            group.create_task(worker(f"root/{n}"), name=f"root/{n}")
        await asyncio.sleep(0.05)
        truth.announce()


threading.Thread(target=wait_for_stdin, daemon=True).start()
loop = asyncio.new_event_loop()
loop.run_until_complete(loop.create_task(main(), name="root"))
