"""A task that blocks its thread in a system call inside nested coroutines: running, but quiet."""

import asyncio
import threading
import time

from _truth import FOREVER, Truth, park, wait_for_stdin

truth = Truth()


async def leaf():
    await park()


async def blocks():
    truth.announce()
    time.sleep(FOREVER)


async def between():
    await blocks()


async def main():
    # The frames inside are on the thread's stack; those of `announce` may still be among them.
    truth.task(asyncio.current_task(), "Task-1", ["...", "blocks", "between", "main"], state="running")
    task = asyncio.create_task(leaf(), name="quiet")
    truth.task(task, "quiet", ["sleep", "park", "leaf"])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await between()


threading.Thread(target=wait_for_stdin, daemon=True).start()
asyncio.run(main())
