"""as_completed() by `for` and by `async for`."""

import asyncio

from _truth import Truth, park

truth = Truth()


async def leaf():
    await park()


def leaves(name):
    tasks = []
    for n in range(2):
        task = asyncio.create_task(leaf(), name=f"{name} {n}")
        awaiter = asyncio.current_task()
        tasks.append(truth.task(task, f"{name} {n}", ["sleep", "park", "leaf"], [awaiter]))
    return tasks


async def plain():
    for earliest in asyncio.as_completed(leaves("plain")):
        await earliest


async def asynchronous():
    async for _ in asyncio.as_completed(leaves("asynchronous")):
        pass


async def main():
    truth.announce_when_idle()
    me = truth.task(asyncio.current_task(), "Task-1", ["main"])
    first = asyncio.create_task(plain(), name="plain")
    truth.task(first, "plain", ["...", "plain"], [me])
    second = asyncio.create_task(asynchronous(), name="asynchronous")
    truth.task(second, "asynchronous", ["...", "asynchronous"], [me])
    await asyncio.gather(first, second)


asyncio.run(main())
