"""Tasks that are noted as awaiters of tasks, and hang somewhere else: in the body of a group, or after they called
`gather` or `shield` without awaiting what that gave. Beside them others that do await tasks, which are no less busy.
"""

import asyncio

from _truth import Truth, end_with_stdin

truth = Truth("tasks that hang, whatever they are noted to await")
lock = asyncio.Lock()


async def works():
    while True:
        await asyncio.sleep(0.05)


async def hangs():
    await lock.acquire()


async def hangs_in_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(works(), name="works")
        await lock.acquire()


async def hangs_before_gather():
    gathering = asyncio.gather(asyncio.create_task(works(), name="works"))
    await lock.acquire()
    await gathering


async def hangs_before_shield():
    shielded = asyncio.shield(asyncio.create_task(works(), name="works"))
    await lock.acquire()
    await shielded


async def awaits_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(works(), name="works")


async def awaits_gather():
    await asyncio.gather(asyncio.create_task(works(), name="works"))


async def awaits_shield():
    await asyncio.shield(asyncio.create_task(works(), name="works"))


async def awaits_first():
    await asyncio.wait([asyncio.create_task(works(), name="works")])


async def awaits_each():
    async for _ in asyncio.as_completed([asyncio.create_task(works(), name="works")]):
        pass


async def main():
    end_with_stdin(asyncio.get_running_loop())
    await lock.acquire()
    tasks = [
        asyncio.create_task(function(), name=name)
        for name, function in globals().items()
        if name.startswith(("hangs", "awaits"))
    ]
    truth.announce()
    await asyncio.wait(tasks)


asyncio.run(main())
