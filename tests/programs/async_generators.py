"""Asynchronous generators: async for, anext(), asend(), aclose(), athrow(), one inside another."""

import asyncio

from _truth import IN_TASK_GROUP, Truth, park

truth = Truth()
SLEEPING = ["sleep", "park"]


async def parks_first():
    await park()
    yield 1


async def parks_second():
    yield 1
    await park()


async def parks_at_end():
    try:
        yield 1
    finally:
        await park()


async def around(other):
    async for value in other:
        yield value


async def by_async_for():
    async for _ in parks_first():
        pass


async def by_nested_async_for():
    async for _ in around(around(parks_first())):
        pass


async def by_comprehension():
    return [value async for value in parks_second()]


async def by_anext():
    await anext(parks_first())


async def by_anext_with_default():
    await anext(parks_first(), None)


async def by_asend():
    generator = parks_second()
    await anext(generator)
    await generator.asend(None)


async def by_aclose():
    generator = parks_at_end()
    await anext(generator)
    await generator.aclose()


async def by_athrow():
    generator = parks_at_end()
    await anext(generator)
    await generator.athrow(ValueError)


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", [*IN_TASK_GROUP, "main"])
    truth.announce_when_idle()
    async with asyncio.TaskGroup() as group:
        for function, inner in [
            (by_async_for, [*SLEEPING, "parks_first"]),
            (by_nested_async_for, [*SLEEPING, "parks_first", "around", "around"]),
            (by_comprehension, [*SLEEPING, "parks_second"]),
            (by_anext, [*SLEEPING, "parks_first"]),
            # The object between is opaque to the interpreter's own tools.
            (by_anext_with_default, [*SLEEPING, "parks_first"]),
            (by_asend, [*SLEEPING, "parks_second"]),
            (by_aclose, [*SLEEPING, "parks_at_end"]),
            (by_athrow, [*SLEEPING, "parks_at_end"]),
        ]:
            name = function.__name__
            task = group.create_task(function(), name=name)
            truth.task(task, name, [*inner, name], [me])


asyncio.run(main())
