"""Healthy tasks that wait at the same place again and again: on each primitive of asyncio one, woken up in
step with the clock. Memory that they give back is given out again, so that they look the same at many a look
from outside. The tasks that wake them up sleep, which nobody takes for being stuck."""

import asyncio

from _truth import Truth, end_with_stdin

# Seconds: an even number of them fits into the times between two looks, an odd number too.
PERIODS = [0.01, 0.05, 0.125, 0.25, 0.5, 1, 2.5, 5]

truth = Truth("tasks that wait in step")


async def on_event(event):
    while True:
        await event.wait()
        event.clear()


async def on_condition(condition):
    async with condition:
        while True:
            await condition.wait()


async def on_lock(lock):
    while True:
        await lock.acquire()


async def on_semaphore(semaphore):
    while True:
        await semaphore.acquire()


async def on_barrier(barrier):
    while True:
        await barrier.wait()


async def on_future(futures):
    while True:
        futures.append(asyncio.get_running_loop().create_future())
        await futures[-1]


async def on_timeout(futures):
    while True:
        futures.append(asyncio.get_running_loop().create_future())
        async with asyncio.timeout(60):
            await futures[-1]


async def on_leaf(leaf, period):
    while True:
        await asyncio.create_task(leaf(period))


async def leaf(period):
    await asyncio.sleep(period)


async def wakes(period, wake_up):
    while True:
        await asyncio.sleep(period)
        await wake_up()


def start(period, create):
    event, condition, lock = asyncio.Event(), asyncio.Condition(), asyncio.Lock()
    semaphore, barrier = asyncio.Semaphore(0), asyncio.Barrier(2)
    futures, guarded = [], []

    async def wake_up():
        event.set()
        async with condition:
            condition.notify_all()
        if lock.locked():
            lock.release()
        semaphore.release()
        for waiting in [futures, guarded]:
            while waiting:
                waiting.pop().set_result(None)

    create(on_event(event))
    create(on_condition(condition))
    create(on_lock(lock))
    create(on_semaphore(semaphore))
    create(on_future(futures))
    create(on_timeout(guarded))
    create(on_leaf(leaf, period))
    create(on_barrier(barrier))
    create(wakes(period, wake_up))
    create(wakes(period, barrier.wait))


async def main():
    end_with_stdin(asyncio.get_running_loop())
    async with asyncio.TaskGroup() as group:
        for period in PERIODS:
            start(period, group.create_task)
        # They never stand still, so they are not waited for.
        truth.announce()


asyncio.run(main())
