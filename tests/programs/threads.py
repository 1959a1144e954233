"""Two loops in worker threads; the main thread has neither loop nor task."""

import asyncio
import threading

from _truth import IN_TASK_GROUP, Truth, park, wait_for_stdin

truth = Truth(loops=2)


async def leaf():
    await park()


async def worker(name):
    me = truth.task(asyncio.current_task(), name, [*IN_TASK_GROUP, "worker"])
    truth.announce_when_idle()
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            task = group.create_task(leaf(), name=f"{name}/{n}")
            truth.task(task, f"{name}/{n}", ["sleep", "park", "leaf"], [me])


def run(name):
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.run_until_complete(loop.create_task(worker(name), name=name))


for name in ["first", "second"]:
    threading.Thread(target=run, args=[name], daemon=True).start()
wait_for_stdin()
