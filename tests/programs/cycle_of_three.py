"""Three tasks that await each other in a ring, through a shield and a gather too, and one outside
the ring that awaits a member of it."""

import asyncio

from _truth import Truth

truth = Truth()
tasks = {}


async def awaits(name):
    await tasks[name]


async def shields(name):
    await asyncio.shield(tasks[name])


async def gathers(name):
    await asyncio.gather(tasks[name])


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", ["main"])
    truth.announce_when_idle()
    tasks["a"] = asyncio.create_task(awaits("b"), name="ring a")
    tasks["b"] = asyncio.create_task(shields("c"), name="ring b")
    tasks["c"] = asyncio.create_task(gathers("a"), name="ring c")
    truth.task(tasks["a"], "ring a", ["awaits"], [tasks["c"], me])
    truth.task(tasks["b"], "ring b", ["shields"], [tasks["a"]])
    truth.task(tasks["c"], "ring c", ["gathers"], [tasks["b"]])
    await tasks["a"]


asyncio.run(main())
