"""Tasks that go round a loop without waiting for anything. Each function has a line for each way of going on,
and all functions of a task stand at the same one: the first lines of such pairs are in the truth."""

import asyncio
import inspect
import json
import random

from _truth import announce_line, end_with_stdin

TASKS = 100


async def innermost(way):
    if way == 0:
        await asyncio.sleep(0)
    if way == 1:
        await asyncio.sleep(0)
    if way == 2:
        await asyncio.sleep(0)
    if way == 3:
        await asyncio.sleep(0)


async def inner(way):
    if way == 0:
        await innermost(way)
    if way == 1:
        await innermost(way)
    if way == 2:
        await innermost(way)
    if way == 3:
        await innermost(way)


async def outermost():
    while True:
        way = random.randrange(4)
        if way == 0:
            await inner(way)
        if way == 1:
            await inner(way)
        if way == 2:
            await inner(way)
        if way == 3:
            await inner(way)


def first_pair(function):
    lines, start = inspect.getsourcelines(function)
    return start + next(at for at, line in enumerate(lines) if "if way == 0" in line)


async def main():
    loop = asyncio.get_running_loop()
    end_with_stdin(loop)
    tasks = [asyncio.create_task(outermost()) for _ in range(TASKS)]
    first_pairs = {function.__name__: first_pair(function) for function in [innermost, inner, outermost]}
    loop.call_later(0.2, announce_line, json.dumps({"ready": True, "first_pairs": first_pairs}))
    await asyncio.wait(tasks)


asyncio.run(main())
