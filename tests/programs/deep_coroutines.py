"""One task 5 000 coroutine frames deep."""

import asyncio
import sys

from _truth import Truth, park

DEPTH = 5_000

truth = Truth()


async def descend(left):
    if left:
        await descend(left - 1)
    else:
        await park()


async def main():
    stack = ["sleep", "park", *["descend"] * DEPTH, "main"]
    truth.task(asyncio.current_task(), "Task-1", stack)
    truth.announce_when_idle()
    await descend(DEPTH - 1)


sys.setrecursionlimit(10 * DEPTH)
asyncio.run(main())
