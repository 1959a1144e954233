"""Eager tasks: some end in their first step and are never seen, the others block in it."""

import asyncio

from _truth import IN_TASK_GROUP, Truth, park

truth = Truth()


async def ends_at_once():
    return 1


async def blocks():
    await park()


async def blocks_deeper():
    me = asyncio.current_task()
    async with asyncio.TaskGroup() as group:
        for n in range(2):
            group.create_task(ends_at_once(), name="gone")
            task = group.create_task(blocks(), name=f"deep {n}")
            truth.task(task, f"deep {n}", ["sleep", "park", "blocks"], [me])


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", [*IN_TASK_GROUP, "main"])
    truth.announce_when_idle()
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    async with asyncio.TaskGroup() as group:
        for n in range(2):
            group.create_task(ends_at_once(), name="gone")
            task = group.create_task(blocks(), name=f"eager {n}")
            truth.task(task, f"eager {n}", ["sleep", "park", "blocks"], [me])
        task = group.create_task(blocks_deeper(), name="eager parent")
        truth.task(task, "eager parent", [*IN_TASK_GROUP, "blocks_deeper"], [me])


asyncio.run(main())
