"""10 000 tasks in one TaskGroup."""

import asyncio

from _truth import IN_TASK_GROUP, Truth, park

truth = Truth()


async def leaf():
    await park()


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", [*IN_TASK_GROUP, "main"])
    truth.announce_when_idle()
    async with asyncio.TaskGroup() as group:
        for n in range(10_000):
            task = group.create_task(leaf(), name=f"leaf {n}")
            truth.task(task, f"leaf {n}", ["sleep", "park", "leaf"], [me])


asyncio.run(main())
