"""Tasks that wait for the other things of asyncio: no task awaits them, and they await no task."""

import asyncio

from _truth import IN_TASK_GROUP, Truth

truth = Truth()
ENTERING = "_ContextManagerMixin.__aenter__"


async def waits_for_event(event):
    await event.wait()


async def waits_for_lock(lock):
    async with lock:
        pass


async def waits_for_semaphore(semaphore):
    async with semaphore:
        pass


async def waits_for_condition(condition):
    async with condition:
        await condition.wait()


async def waits_for_queue(queue):
    await queue.get()


async def waits_for_barrier(barrier):
    await barrier.wait()


async def waits_for_future(future):
    await future


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", [*IN_TASK_GROUP, "main"])
    truth.announce_when_idle()
    lock = asyncio.Lock()
    await lock.acquire()
    waits = [
        (waits_for_event(asyncio.Event()), ["Event.wait", "waits_for_event"]),
        (waits_for_lock(lock), ["Lock.acquire", ENTERING, "waits_for_lock"]),
        (
            waits_for_semaphore(asyncio.Semaphore(0)),
            ["Semaphore.acquire", ENTERING, "waits_for_semaphore"],
        ),
        (waits_for_condition(asyncio.Condition()), ["Condition.wait", "waits_for_condition"]),
        (waits_for_queue(asyncio.Queue()), ["Queue.get", "waits_for_queue"]),
        (waits_for_barrier(asyncio.Barrier(2)), ["...", "Barrier.wait", "waits_for_barrier"]),
        (waits_for_future(asyncio.get_running_loop().create_future()), ["waits_for_future"]),
    ]
    async with asyncio.TaskGroup() as group:
        for coroutine, stack in waits:
            name = coroutine.__name__
            truth.task(group.create_task(coroutine, name=name), name, stack, [me])


asyncio.run(main())
