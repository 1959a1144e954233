"""A loop in the main thread, and loops in threads started before and after its own tasks."""

import asyncio
import threading

from _truth import IN_TASK_GROUP, Truth, park

truth = Truth(loops=4)


async def leaf():
    await park()


async def opens_group(name):
    me = truth.task(asyncio.current_task(), name, [*IN_TASK_GROUP, "opens_group"])
    truth.announce_when_idle()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(leaf(), name=f"{name}/leaf")
        truth.task(task, f"{name}/leaf", ["sleep", "park", "leaf"], [me])


def run(name):
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.run_until_complete(loop.create_task(opens_group(name), name=name))


def start(name):
    threading.Thread(target=run, args=[name], daemon=True).start()


async def main():
    start("second")
    me = truth.task(asyncio.current_task(), "Task-1", ["main"])
    truth.announce_when_idle()
    task = asyncio.create_task(leaf(), name="main/leaf")
    truth.task(task, "main/leaf", ["sleep", "park", "leaf"], [me])
    start("third")
    await task


start("first")
loop = asyncio.new_event_loop()
# Numbers of default names are handed out to whoever asks first, so this one is named, too late to
# be kept as anything but a text.
loop.run_until_complete(loop.create_task(main(), name="Task-1"))
