"""An event loop that is held up by what its argument says: a callback that waits (`waits`) or computes (`computes`), or by nothing
(`nothing`). Its tasks sleep and wait for jobs. With `uvloop` as well in an event loop of that kind."""

import asyncio
import sys
import threading

from _truth import announce_line


def hold_up(how):
    announce_line('{"ready": true}')
    if how == "waits":
        threading.Event().wait()
    while how == "computes":
        pass


async def ticks():
    while True:
        await asyncio.sleep(0.5)


async def worker():
    await asyncio.Queue().get()


async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(worker(), name="worker")
        group.create_task(ticks(), name="ticks")
        asyncio.get_running_loop().call_later(0.7, hold_up, sys.argv[1])


if sys.argv[2:] == ["uvloop"]:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
else:
    asyncio.run(main())
