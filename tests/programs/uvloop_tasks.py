"""Tasks of a uvloop event loop."""

import asyncio

import uvloop
from _truth import IN_TASK_GROUP, Truth, park

truth = Truth("uvloop " + uvloop.__version__)


async def leaf():
    await park()


async def main():
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
    me = truth.task(asyncio.current_task(), "Task-1", [*IN_TASK_GROUP, "main"])
    truth.announce_when_idle()
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            task = group.create_task(leaf(), name=f"leaf {n}")
            truth.task(task, f"leaf {n}", ["sleep", "park", "leaf"], [me])


# Not uvloop.run(): that would put a coroutine of its own around `main`.
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
