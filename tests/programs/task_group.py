"""A TaskGroup in a TaskGroup of the same task, and one in a child; children parked in various ways."""

import asyncio

from _truth import IN_TASK_GROUP, Truth, park

truth = Truth()


async def leaf():
    await park()


async def waits_for_event(event):
    await event.wait()


async def branch():
    me = asyncio.current_task()
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            truth.task(
                group.create_task(leaf(), name=f"leaf {n}"),
                f"leaf {n}",
                ["sleep", "park", "leaf"],
                [me],
            )


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", [*IN_TASK_GROUP, "main"])
    truth.announce_when_idle()
    async with asyncio.TaskGroup() as outer:
        truth.task(outer.create_task(leaf(), name="outer"), "outer", ["sleep", "park", "leaf"], [me])
        async with asyncio.TaskGroup() as inner:
            truth.task(
                inner.create_task(waits_for_event(asyncio.Event()), name="inner"),
                "inner",
                ["Event.wait", "waits_for_event"],
                [me],
            )
            truth.task(
                inner.create_task(branch(), name="branch"),
                "branch",
                [*IN_TASK_GROUP, "branch"],
                [me],
            )


asyncio.run(main())
