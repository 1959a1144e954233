"""Task names of 255, 256, 1 024, 1 025 and 10 000 characters, narrow and wide, and one that is too long to be
shown in full."""

import asyncio

from _truth import IN_TASK_GROUP, Truth, park

truth = Truth()


async def leaf():
    await park()


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", [*IN_TASK_GROUP, "main"])
    truth.announce_when_idle()
    async with asyncio.TaskGroup() as group:
        for length in [255, 256, 1_024, 1_025, 10_000]:
            for character in "xé中🎵":
                name = f"{length}".ljust(length, character)
                task = group.create_task(leaf(), name=name)
                truth.task(task, name, ["sleep", "park", "leaf"], [me])
        task = group.create_task(leaf(), name="中" * 16_385)
        truth.task(task, "中" * 16_384 + "…", ["sleep", "park", "leaf"], [me])


asyncio.run(main())
