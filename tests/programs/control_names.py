"""Task names with control characters, which a terminal would obey."""

import asyncio

from _truth import IN_TASK_GROUP, Truth, park

NAMES = [
    "tab\tnewline\nreturn\rescape\x1b[31mred",
    "nul\x00inside",
    "delete\x7f and C1\x9b31m",
    "c1 \x85 and \x9f",
]

truth = Truth()


async def leaf():
    await park()


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", [*IN_TASK_GROUP, "main"])
    truth.announce_when_idle()
    async with asyncio.TaskGroup() as group:
        for name in NAMES:
            task = group.create_task(leaf(), name=name)
            truth.task(task, name, ["sleep", "park", "leaf"], [me])


asyncio.run(main())
