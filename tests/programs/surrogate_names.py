"""Task names with lone surrogates, which no encoding of Unicode can hold."""

import asyncio

from _truth import IN_TASK_GROUP, Truth, park

NAMES = [
    "lone \ud800 surrogate",
    "lone \udfff and 🎵",
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
