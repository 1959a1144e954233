"""Awaitables made of generators: `__await__`, types.coroutine, and the wrapper of a coroutine."""

import asyncio
import types

from _truth import IN_TASK_GROUP, Truth, park

truth = Truth()
SLEEPING = ["sleep", "park"]


class Delegates:
    """Awaited through a generator that delegates to a coroutine's wrapper."""

    def __await__(self):
        yield from park().__await__()


class Returns:
    """Awaited through the wrapper itself."""

    def __await__(self):
        return park().__await__()


class Nested:
    """A generator that delegates to another one's `__await__`."""

    def __await__(self):
        yield from Delegates().__await__()


class WaitsForFuture:
    """A generator that delegates to a future: nothing of Python's is inside."""

    def __init__(self):
        self.future = asyncio.get_running_loop().create_future()

    def __await__(self):
        yield from self.future


@types.coroutine
def legacy():
    yield from park()


@types.coroutine
def legacy_of_legacy():
    yield from legacy()


async def by_delegation():
    await Delegates()


async def by_wrapper():
    await Returns()


async def by_nesting():
    await Nested()


async def by_future():
    await WaitsForFuture()


async def by_legacy():
    await legacy()


async def by_legacy_of_legacy():
    await legacy_of_legacy()


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", [*IN_TASK_GROUP, "main"])
    truth.announce_when_idle()
    async with asyncio.TaskGroup() as group:
        for function, inner in [
            (by_delegation, [*SLEEPING, "Delegates.__await__"]),
            (by_wrapper, SLEEPING),
            (by_nesting, [*SLEEPING, "Delegates.__await__", "Nested.__await__"]),
            (by_future, ["WaitsForFuture.__await__"]),
            (by_legacy, [*SLEEPING, "legacy"]),
            (by_legacy_of_legacy, [*SLEEPING, "legacy", "legacy_of_legacy"]),
        ]:
            name = function.__name__
            task = group.create_task(function(), name=name)
            truth.task(task, name, [*inner, name], [me])


asyncio.run(main())
