"""Default names, which are kept as numbers, and one of them that was asked for and became a text."""

import asyncio

from _truth import Truth, park

truth = Truth()


async def leaf():
    await park()


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", ["main"])
    truth.announce_when_idle()
    tasks = [asyncio.create_task(leaf()) for _ in range(20)]
    for n, task in enumerate(tasks):
        truth.task(task, f"Task-{n + 2}", ["sleep", "park", "leaf"], [me])
    assert tasks[7].get_name() == "Task-9"
    # Not a default name but a text from the start, and one that was set to something not a text.
    named = asyncio.create_task(leaf(), name=12345678901234567890)
    truth.task(named, "12345678901234567890", ["sleep", "park", "leaf"], [me])
    await asyncio.gather(*tasks, named)


asyncio.run(main())
