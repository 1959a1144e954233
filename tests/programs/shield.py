"""shield() of a task, of a task that others await too, and a shield inside wait_for()."""

import asyncio

from _truth import FOREVER, Truth, park

truth = Truth()


async def leaf():
    await park()


async def shields(task):
    await asyncio.shield(task)


async def shields_with_timeout(task):
    await asyncio.wait_for(asyncio.shield(task), FOREVER)


async def main():
    truth.announce_when_idle()
    me = truth.task(asyncio.current_task(), "Task-1", ["main"])
    work = asyncio.create_task(leaf(), name="shielded")
    first = asyncio.create_task(shields(work), name="shields")
    truth.task(first, "shields", ["shields"], [me])
    second = asyncio.create_task(shields_with_timeout(work), name="shields with timeout")
    truth.task(second, "shields with timeout", ["wait_for", "shields_with_timeout"], [me])
    truth.task(work, "shielded", ["sleep", "park", "leaf"], [first, second])
    await asyncio.gather(first, second)


asyncio.run(main())
