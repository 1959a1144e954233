"""Tasks that last and take a new name for each piece of work, each a thousand times a second: names of
their own, or now and then one that all of them share."""

import asyncio
import itertools
import json

from _truth import announce_line, end_with_stdin

TASKS = 60
numbers = itertools.count(1)


async def working(worker):
    for number in numbers:
        busy = f"{worker}: request {number}"
        asyncio.current_task().set_name(busy if number % 5 else "idle")
        await asyncio.sleep(0.001)


async def waiting(worker):
    await asyncio.create_task(working(worker), name=f"{worker}: new")


async def main():
    loop = asyncio.get_running_loop()
    end_with_stdin(loop)
    tasks = [asyncio.create_task(waiting(n), name=f"waits for {n}") for n in range(TASKS)]
    loop.call_later(0.2, announce_line, json.dumps({"ready": True, "workers": TASKS}))
    await asyncio.wait(tasks)


asyncio.run(main())
