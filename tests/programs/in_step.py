"""A healthy task that goes round and looks the same each time it is seen: what it waits for is made anew, in the
memory of the one before, and it is hardly ever anywhere else. Beside it one that is stuck for good.

usage: in_step.py event|condition|lock|semaphore|put
"""

import asyncio
import sys

from _truth import Truth, end_with_stdin

truth = Truth("a task that goes round in step, and a stuck one")


async def nothing():
    await asyncio.sleep(0)


async def goes_round(wait):
    while True:
        await wait()
        # With one short wait more, each round finds the same memory.
        await nothing()


async def wakes(wake_up):
    while True:
        await asyncio.sleep(0.005)
        await wake_up()


def event():
    event = asyncio.Event()

    async def wait():
        await event.wait()
        event.clear()

    async def wake_up():
        event.set()

    return wait, wake_up


def condition():
    condition = asyncio.Condition()

    async def wait():
        async with condition:
            await condition.wait()

    async def wake_up():
        async with condition:
            condition.notify()

    return wait, wake_up


def lock():
    lock = asyncio.Lock()

    async def wake_up():
        if lock.locked():
            lock.release()

    return lock.acquire, wake_up


def semaphore():
    semaphore = asyncio.Semaphore(0)

    async def wake_up():
        semaphore.release()

    return semaphore.acquire, wake_up


def put():
    queue = asyncio.Queue(1)

    async def wait():
        await queue.put(None)

    async def wake_up():
        await queue.get()

    return wait, wake_up


async def stuck():
    lock = asyncio.Lock()
    await lock.acquire()
    await lock.acquire()


async def main():
    end_with_stdin(asyncio.get_running_loop())
    wait, wake_up = globals()[sys.argv[1]]()
    async with asyncio.TaskGroup() as group:
        group.create_task(stuck(), name="stuck for good")
        group.create_task(goes_round(wait), name="goes round")
        group.create_task(wakes(wake_up), name="wakes")
        # They never stand still, so they are not waited for.
        truth.announce()


asyncio.run(main())
