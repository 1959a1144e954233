"""A task that three others await, each in its own way, and a diamond above them."""

import asyncio

from _truth import FOREVER, Truth, park

truth = Truth()


async def leaf():
    await park()


async def plainly(task):
    await task


async def in_gather(task):
    await asyncio.gather(task)


async def in_wait(task):
    await asyncio.wait([task], timeout=FOREVER)


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", ["main"])
    truth.announce_when_idle()
    shared = asyncio.create_task(leaf(), name="shared")
    awaiters = []
    for function, stack in [
        (plainly, ["plainly"]),
        (in_gather, ["in_gather"]),
        (in_wait, ["_wait", "wait", "in_wait"]),
    ]:
        task = asyncio.create_task(function(shared), name=function.__name__)
        awaiters.append(truth.task(task, function.__name__, stack, [me]))
    truth.task(shared, "shared", ["sleep", "park", "leaf"], awaiters)
    await asyncio.gather(*awaiters)


asyncio.run(main())
