"""wait_for() of a task, and of a coroutine that then runs in the same task; timeout() around a task."""

import asyncio

from _truth import FOREVER, Truth, park

truth = Truth()


async def leaf():
    await park()


async def of_task():
    task = asyncio.create_task(leaf(), name="waited for")
    truth.task(task, "waited for", ["sleep", "park", "leaf"], [asyncio.current_task()])
    await asyncio.wait_for(task, FOREVER)


async def of_coroutine():
    await asyncio.wait_for(leaf(), FOREVER)


async def main():
    truth.announce_when_idle()
    me = truth.task(asyncio.current_task(), "Task-1", ["main"])
    first = asyncio.create_task(of_task(), name="of task")
    truth.task(first, "of task", ["wait_for", "of_task"], [me])
    second = asyncio.create_task(of_coroutine(), name="of coroutine")
    truth.task(second, "of coroutine", ["sleep", "park", "leaf", "wait_for", "of_coroutine"], [me])
    await asyncio.gather(first, second)


asyncio.run(main())
