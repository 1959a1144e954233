"""Tasks that wait in functions of installed packages, by their names `fine ...` and `stuck ...`, and three cycles, of which one
has an end. The packages are anyio, in the first folder that is given, and those that are written into the second one. With
`uvloop` in an event loop of that kind."""

import asyncio
import pathlib
import sys

from _truth import announce_line

folders = sys.argv[1:3]
sys.path.extend(folders)
pathlib.Path(folders[1], "quiet.py").write_text(
    """
async def message(future):
    await future


class Pool:
    async def acquire(self, future):
        await future


async def deep(levels, lock):
    if levels > 0:
        await deep(levels - 1, lock)
    else:
        await lock.acquire()
"""
)

import anyio  # noqa: E402
import quiet  # noqa: E402


def future():
    return asyncio.get_running_loop().create_future()


async def held():
    lock = asyncio.Lock()
    await lock.acquire()
    return lock


async def in_scope():
    with anyio.move_on_after(15):
        await future()


async def in_manager():
    with anyio.fail_after(15):
        await future()


async def for_lock():
    lock = await held()
    with anyio.fail_after(15):
        await lock.acquire()


async def member(what):
    asyncio.current_task().set_name(what)
    await future()


async def in_group():
    with anyio.move_on_after(15):
        async with anyio.create_task_group() as group:
            group.start_soon(member, "fine member")
            await anyio.sleep_forever()


async def endless():
    with anyio.move_on_after(None):
        await future()


async def in_endless_group():
    async with anyio.create_task_group() as group:
        group.start_soon(member, "stuck member")
        await anyio.sleep_forever()


async def far():
    with anyio.move_on_after(3600):
        await asyncio.create_task(member("stuck far"))


async def for_message():
    await quiet.message(future())


async def from_pool():
    await quiet.Pool().acquire(future())


async def deep():
    await quiet.deep(50, await held())


async def wrap(ends):
    above = asyncio.current_task()

    async def ring():
        while True:
            with anyio.move_on_after(15 if ends else None):
                await asyncio.shield(above)

    await start(f"{'open' if ends else 'closed'} ring", ring())


async def awaits(host):
    asyncio.current_task().set_name("member of ring")
    await host


async def group_in_ring():
    async with anyio.create_task_group() as group:
        group.start_soon(awaits, asyncio.current_task())


def start(name, coroutine):
    task = asyncio.create_task(coroutine, name=name)
    tasks.append(task)
    return task


tasks = []


async def serve():
    for function in [in_scope, in_manager, for_lock, in_group, for_message]:
        start(f"fine {function.__name__}", function())
    for function in [endless, from_pool, deep]:
        start(f"stuck {function.__name__}", function())
    start("fine group", in_endless_group())
    start("fine far", far())
    start("open", wrap(True))
    start("closed", wrap(False))
    start("group in ring", group_in_ring())
    await asyncio.sleep(0.1)
    ended = [task for task in tasks if task.done()]
    assert not ended, [task.exception() for task in ended]
    announce_line('{"ready": true}')
    await future()


if sys.argv[3:] == ["uvloop"]:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
else:
    asyncio.run(serve())
