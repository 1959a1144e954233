"""asyncio.wait() in its three ways, each in a task of its own, over tasks of its own."""

import asyncio

from _truth import FOREVER, Truth, park

truth = Truth()


async def leaf():
    await park()


async def waiter(name, **how):
    me = asyncio.current_task()
    tasks = []
    for n in range(2):
        task = asyncio.create_task(leaf(), name=f"{name} {n}")
        tasks.append(truth.task(task, f"{name} {n}", ["sleep", "park", "leaf"], [me]))
    await asyncio.wait(tasks, **how)


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", ["_wait", "wait", "main"])
    truth.announce_when_idle()
    waiters = {
        "all": {},
        "first": {"return_when": asyncio.FIRST_COMPLETED},
        "timeout": {"timeout": FOREVER},
    }
    tasks = []
    for name, how in waiters.items():
        task = asyncio.create_task(waiter(name, **how), name=name)
        tasks.append(truth.task(task, name, ["_wait", "wait", "waiter"], [me]))
    await asyncio.wait(tasks)


asyncio.run(main())
