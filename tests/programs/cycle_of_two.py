"""Two tasks that await each other, beside a healthy tree."""

import asyncio

from _truth import Truth, park

truth = Truth()
tasks = {}


async def awaits(name):
    await tasks[name]


async def leaf():
    await park()


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", ["main"])
    truth.announce_when_idle()
    tasks["a"] = asyncio.create_task(awaits("b"), name="cycle a")
    tasks["b"] = asyncio.create_task(awaits("a"), name="cycle b")
    truth.task(tasks["a"], "cycle a", ["awaits"], [tasks["b"]])
    truth.task(tasks["b"], "cycle b", ["awaits"], [tasks["a"]])
    healthy = asyncio.create_task(leaf(), name="healthy")
    truth.task(healthy, "healthy", ["sleep", "park", "leaf"], [me])
    await healthy


asyncio.run(main())
