"""A process that forks itself in a thread while its loop runs, as pools of workers do: the copy runs no loop."""

import asyncio
import os

from _truth import Truth, park

truth = Truth(loops=1)


async def waits():
    await park()


def fork():
    if os.fork() == 0:
        # Until the other one ends.
        while os.read(0, 65536):
            pass
        os._exit(0)


async def main():
    for n in range(3):
        task = asyncio.create_task(waits(), name=f"waits {n}")
        truth.task(task, f"waits {n}", ["sleep", "park", "waits"])
    await asyncio.sleep(0)
    truth.task(asyncio.current_task(), "main", ["sleep", "park", "main"])
    asyncio.current_task().set_name("main")
    await asyncio.get_running_loop().run_in_executor(None, fork)
    truth.announce_when_idle()
    await park()


asyncio.run(main())
