"""Tasks that were created and never started, since their loop does not run."""

import asyncio

from _truth import Truth, wait_for_stdin

truth = Truth()


async def never():
    await asyncio.sleep(1)


loop = asyncio.new_event_loop()
tasks = [loop.create_task(never(), name=f"never {n}") for n in range(3)]
for n, task in enumerate(tasks):
    truth.task(task, f"never {n}", ["never"], state="created")
truth.announce()
wait_for_stdin()
