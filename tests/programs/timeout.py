"""timeout() around an awaited task, a sleep, and a TaskGroup."""

import asyncio

from _truth import FOREVER, IN_TASK_GROUP, Truth, park

truth = Truth()


async def leaf():
    await park()


async def around_task():
    async with asyncio.timeout(FOREVER):
        task = asyncio.create_task(leaf(), name="inside")
        truth.task(task, "inside", ["sleep", "park", "leaf"], [asyncio.current_task()])
        await task


async def around_sleep():
    async with asyncio.timeout(FOREVER):
        await leaf()


async def main():
    truth.announce_when_idle()
    me = truth.task(asyncio.current_task(), "Task-1", [*IN_TASK_GROUP, "main"])
    async with asyncio.timeout(FOREVER), asyncio.TaskGroup() as group:
        first = group.create_task(around_task(), name="around task")
        truth.task(first, "around task", ["around_task"], [me])
        second = group.create_task(around_sleep(), name="around sleep")
        truth.task(second, "around sleep", ["sleep", "park", "leaf", "around_sleep"], [me])


asyncio.run(main())
