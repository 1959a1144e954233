"""gather() of named tasks, beside a task that nobody awaits."""

import asyncio

from _truth import Truth, park

truth = Truth()


async def leaf():
    await park()


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", ["main"])
    truth.announce_when_idle()
    tasks = [asyncio.create_task(leaf(), name=f"gathered {n}") for n in range(3)]
    for n, task in enumerate(tasks):
        truth.task(task, f"gathered {n}", ["sleep", "park", "leaf"], [me])
    alone = asyncio.create_task(leaf(), name="alone")
    truth.task(alone, "alone", ["sleep", "park", "leaf"])
    await asyncio.gather(*tasks)


asyncio.run(main())
