"""Tasks of a class written in Python: with attributes, with slots, by a task factory."""

import asyncio

from _truth import IN_TASK_GROUP, Truth, park

truth = Truth()


class WithAttributes(asyncio.Task):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.colour = "red"
        self.numbers = list(range(100))


class WithSlots(asyncio.Task):
    __slots__ = ("colour", "size")


async def leaf():
    await park()


def factory(loop, coroutine, **kwargs):
    return WithAttributes(coroutine, loop=loop, **kwargs)


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", [*IN_TASK_GROUP, "main"])
    truth.announce_when_idle()
    loop = asyncio.get_running_loop()
    slots = WithSlots(leaf(), loop=loop, name="with slots")
    truth.task(slots, "with slots", ["sleep", "park", "leaf"])
    loop.set_task_factory(factory)
    async with asyncio.TaskGroup() as group:
        for n in range(2):
            task = group.create_task(leaf(), name=f"made by factory {n}")
            assert type(task) is WithAttributes
            truth.task(task, f"made by factory {n}", ["sleep", "park", "leaf"], [me])


asyncio.run(main())
