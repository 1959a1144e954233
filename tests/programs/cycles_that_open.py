"""Await cycles that nobody can leave, and others that somebody can: a timeout ends the wait, one of several
awaited ones is enough, or the task that is noted as awaiter waits for something else at the moment.

The name of a task says which: those of the first kind begin with "dead". Each kind is made twice, by tasks in C
and by tasks in Python.
"""

import asyncio
import contextlib
import sys

from _truth import FOREVER, Truth, park, use_python_tasks

if "python" in sys.argv[1:]:
    use_python_tasks()
    asyncio.tasks.Task = asyncio.Task = asyncio.tasks._PyTask

# What is due then ends a wait; what is due in a day is as good as never.
SOON = 300
truth = Truth("cycles of every kind")
kept = []


class Pair:
    """Two tasks: `one` does what its case says, `other` awaits it."""

    def __init__(self, case):
        name = case.__name__
        self.one = asyncio.create_task(case(self), name=f"{name} one")
        self.other = asyncio.create_task(self.await_one(), name=f"{name} other")
        kept.extend([self.one, self.other])

    async def await_one(self):
        await self.one


def sleeper():
    task = asyncio.create_task(park(), name="sleeper")
    kept.append(task)
    return task


# Cycles that nobody can leave.


async def dead_plain(pair):
    await pair.other


async def dead_gather(pair):
    await asyncio.gather(pair.other, sleeper(), asyncio.sleep(FOREVER))


async def dead_gather_exceptions(pair):
    await asyncio.gather(sleeper(), pair.other, return_exceptions=True)


async def dead_group(pair):
    async def child():
        await pair.one

    async with asyncio.TaskGroup() as group:
        kept.append(group.create_task(child(), name="dead_group child"))
        group.create_task(park(), name="sleeper")


async def dead_timeout_outside(pair):
    async def watches():
        await asyncio.wait_for(pair.one, SOON)

    kept.append(asyncio.create_task(watches(), name="dead_timeout_outside watcher"))
    await pair.other


async def dead_shield(pair):
    await asyncio.shield(pair.other)


async def dead_wait_all(pair):
    await asyncio.wait([pair.other, sleeper()])


async def dead_wait_exception(pair):
    await asyncio.wait([pair.other, sleeper()], return_when=asyncio.FIRST_EXCEPTION)


async def dead_wait_first(pair):
    # Whichever it is, it waits for this one.
    third = asyncio.create_task(pair.await_one(), name="dead_wait_first third")
    await asyncio.wait([pair.other, third], return_when=asyncio.FIRST_COMPLETED)


async def dead_as_completed(pair):
    third = asyncio.create_task(pair.await_one(), name="dead_as_completed third")
    async for _ in asyncio.as_completed([pair.other, third]):
        pass


async def dead_wait_for(pair):
    await asyncio.wait_for(pair.other, None)


async def dead_no_timeout(pair):
    async with asyncio.timeout(None), asyncio.timeout(SOON) as outer:
        outer.reschedule(None)
        await pair.other


async def dead_nested_gather(pair):
    await asyncio.gather(asyncio.gather(pair.other), sleeper())


async def dead_gather_shield(pair):
    await asyncio.gather(asyncio.shield(pair.other))


async def dead_shield_gather(pair):
    await asyncio.shield(asyncio.gather(pair.other, sleeper()))


async def dead_shield_shield(pair):
    await asyncio.shield(asyncio.shield(pair.other))


async def dead_wait_gather(pair):
    await asyncio.wait([asyncio.gather(pair.other), sleeper()])


async def dead_wait_first_shield(pair):
    await asyncio.wait([asyncio.shield(pair.other)], return_when=asyncio.FIRST_COMPLETED)


# In these the task will be cancelled. But it passes that on to what it awaits, which passes it on in turn, round the
# circle, until CPython gives up with a RecursionError.


async def dead_timeout_plain(pair):
    async with asyncio.timeout(SOON):
        await pair.other


async def dead_timeout_wait_for(pair):
    await asyncio.wait_for(pair.other, SOON)


async def dead_timeout_gather(pair):
    async with asyncio.timeout(SOON):
        await asyncio.gather(pair.other)


async def dead_timeout_far(pair):
    async with asyncio.timeout(FOREVER):
        await asyncio.shield(pair.other)


async def dead_timeout_far_over(pair):
    async def watches():
        await asyncio.wait_for(pair.one, FOREVER)

    kept.append(asyncio.create_task(watches(), name="dead_timeout_far_over watcher"))
    await asyncio.wait([pair.other])


async def dead_timeout_over(pair):
    await asyncio.wait_for(pair.other, 0.01)


async def dead_first_of_dead(pair):
    # One is in the circle, the other awaits somebody who is in another one.
    async def await_plain():
        await plain.one

    third = asyncio.create_task(await_plain(), name="behind: awaits a dead one")
    await asyncio.wait([pair.other, third], return_when=asyncio.FIRST_COMPLETED)


# Cycles that somebody can leave.


async def open_first_or_task(pair):
    await asyncio.wait([pair.other, sleeper()], return_when=asyncio.FIRST_COMPLETED)


async def open_first_or_future(pair):
    data = asyncio.get_running_loop().create_future()
    await asyncio.wait([pair.other, data], return_when=asyncio.FIRST_COMPLETED)


async def open_first_or_shield(pair):
    shielded = asyncio.shield(sleeper())
    await asyncio.wait([pair.other, shielded], return_when=asyncio.FIRST_COMPLETED)


async def open_wait_timeout(pair):
    await asyncio.wait([pair.other], timeout=FOREVER)


async def open_as_completed(pair):
    for next_one in asyncio.as_completed([pair.other, sleeper()]):
        await next_one


async def open_as_completed_timeout(pair):
    async for _ in asyncio.as_completed([pair.other], timeout=FOREVER):
        pass


async def open_as_completed_left(pair):
    async for _ in asyncio.as_completed([pair.other, asyncio.sleep(0)]):
        break
    await asyncio.get_running_loop().create_future()


async def open_timeout_shield(pair):
    async with asyncio.timeout(SOON):
        await asyncio.shield(pair.other)


async def open_timeout_wait(pair):
    async def inner():
        async with asyncio.timeout(None):
            await asyncio.wait([pair.other])

    async with asyncio.timeout(SOON):
        await inner()


async def open_timeout_of_other(pair):
    # Its cancellation is passed on to one that it ends.
    async def shields():
        await asyncio.shield(pair.other)

    third = asyncio.create_task(shields(), name="open_timeout_of_other third")
    await asyncio.wait_for(third, SOON)


async def open_timeout_gather_shield(pair):
    await asyncio.wait_for(asyncio.gather(asyncio.shield(pair.other)), SOON)


@contextlib.asynccontextmanager
async def deadline():
    async with asyncio.timeout(SOON):
        yield


async def open_wrapped_timeout(pair):
    async with deadline():
        await asyncio.wait([pair.other])


async def open_call_later(pair):
    asyncio.get_running_loop().call_later(SOON, asyncio.current_task().cancel)
    await asyncio.shield(pair.other)


async def open_gather_later(pair):
    gathering = asyncio.gather(pair.other)
    await asyncio.get_running_loop().create_future()
    await gathering


async def open_shield_later(pair):
    shielded = asyncio.shield(pair.other)
    await asyncio.get_running_loop().create_future()
    await shielded


async def open_timeout_outside(pair):
    async def watches():
        await asyncio.wait_for(pair.one, SOON)

    async def over_another():
        await asyncio.create_task(watches(), name="open_timeout_outside watcher")

    kept.append(asyncio.create_task(over_another(), name="open_timeout_outside above"))
    await asyncio.wait([pair.other])


async def open_group_body(pair):
    async def child():
        await pair.one

    async with asyncio.TaskGroup() as group:
        child = group.create_task(child(), name="open_group_body child")
        await asyncio.get_running_loop().create_future()
        child.cancel()


plain = None


async def main():
    global plain
    cases = [case for name, case in globals().items() if name.startswith(("dead_", "open_"))]
    for case in cases:
        pair = Pair(case)
        if case is dead_plain:
            plain = pair
    truth.announce_when_idle()
    await asyncio.get_running_loop().create_future()


asyncio.run(main())
