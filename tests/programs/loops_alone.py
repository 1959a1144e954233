"""Healthy tasks that go round loops in a program in which nothing else happens, so that each round gets the very memory
of the round before, on futures of their own and on jobs of threads. With the argument "hangs", a task that hangs instead,
and one beside it that shows that time goes on. With `uvloop` as well in an event loop of that kind."""

import asyncio
import sys
import time

from _truth import Truth, end_with_stdin

truth = Truth("loops in a program where nothing else happens")
PERIOD = 0.02


async def answer(seconds):
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(seconds, future.set_result, None)
    return await future


async def turn_and_answer():
    while True:
        await asyncio.sleep(0)
        await answer(PERIOD)


async def job_and_turn():
    while True:
        await asyncio.to_thread(pause)
        await asyncio.sleep(0)


async def job_and_commit():
    loop = asyncio.get_running_loop()
    while True:
        await loop.run_in_executor(None, pause)
        await answer(PERIOD / 100)


def pause():
    time.sleep(PERIOD)


async def ticks():
    while True:
        await asyncio.sleep(PERIOD)


async def hangs():
    await asyncio.get_running_loop().create_future()


async def main():
    end_with_stdin(asyncio.get_running_loop())
    kinds = [turn_and_answer, job_and_turn, job_and_commit]
    which = sys.argv[1]
    started = [hangs, ticks] if which == "hangs" else [kinds[int(which)]]
    async with asyncio.TaskGroup() as group:
        for kind in started:
            group.create_task(kind(), name=kind.__name__)
        # They never stand still, so they are not waited for.
        truth.announce()


if sys.argv[2:] == ["uvloop"]:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
else:
    asyncio.run(main())
