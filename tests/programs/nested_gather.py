"""gather() of gather()s, and tasks that gather in turn."""

import asyncio

from _truth import Truth, park

truth = Truth()


async def leaf():
    await park()


async def gathers(level):
    me = asyncio.current_task()
    if level == 0:
        await leaf()
        return
    tasks = []
    for n in range(2):
        name = f"level {level - 1} number {n}"
        task = asyncio.create_task(gathers(level - 1), name=name)
        stack = ["gathers"] if level > 1 else ["sleep", "park", "leaf", "gathers"]
        tasks.append(truth.task(task, name, stack, [me]))
    await asyncio.gather(*tasks)


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", ["main"])
    truth.announce_when_idle()
    tasks = [asyncio.create_task(leaf(), name=f"inner {n}") for n in range(4)]
    for n, task in enumerate(tasks):
        truth.task(task, f"inner {n}", ["sleep", "park", "leaf"], [me])
    deep = asyncio.create_task(gathers(3), name="deep")
    truth.task(deep, "deep", ["gathers"], [me])
    await asyncio.gather(
        asyncio.gather(*tasks[:2]),
        asyncio.gather(asyncio.gather(*tasks[2:]), deep),
    )


asyncio.run(main())
