"""Tasks that have hung from the beginning, while the event loop has something to do that no task is seen to do. By the names of
their functions, those of `ONCE` cannot have come by where they stand before, and those of `AGAIN` might have; and those with a name of their own
might be other tasks each time."""

import asyncio
import contextlib

from _truth import announce_line

never_set = []


def never():
    future = asyncio.get_running_loop().create_future()
    never_set.append(future)
    return future


async def soon():
    await asyncio.sleep(0)


class Suppressing:
    async def __aenter__(self):
        await soon()

    async def __aexit__(self, *_):
        await soon()
        return True


async def plain():
    await never()


async def after_others():
    await soon()
    for _ in range(3):
        await soon()
    try:
        await soon()
    except OSError:
        await soon()
    async with Suppressing():
        await soon()
    await never()


async def before_others():
    await never()
    while True:
        await soon()


async def in_branch():
    if never_set:
        try:
            await soon()
        finally:
            await never()
    else:
        await soon()


async def in_handler():
    try:
        await soon()
        raise OSError
    except OSError:
        await never()
    await soon()


async def in_block():
    async with Suppressing():
        with contextlib.suppress(OSError):
            await never()
    await soon()


async def below():
    await in_block()


async def ends_its_loop():
    while True:
        await soon()
        return await never()


async def in_match():
    match len(never_set):
        case 0:
            await soon()
        case _:
            await never()


async def gathering():
    await asyncio.gather(
        asyncio.create_task(gathered(), name="named"),
        asyncio.create_task(gathered(), name="named too"),
    )


async def gathered():
    await never()


async def grouping():
    async with asyncio.TaskGroup() as group:
        group.create_task(grouped(), name="named")
    await soon()


async def grouped():
    await never()


async def named():
    await never()


async def watched():
    # Somebody looks how it is getting on, and does nothing else.
    result = never()

    def look():
        if not result.done():
            asyncio.get_running_loop().call_later(1, look)

    look()
    await result


class Supervisor:
    def __init__(self):
        self.task = asyncio.current_task()
        self.result = never()

    def look(self):
        if self.task.cancelling():
            self.task.cancel()
        asyncio.get_running_loop().call_later(1, self.look)


class Gauge:
    def set(self, value):
        self.value = value


class Beating:
    """Its heartbeat uses a name that ends a wait, and sets the next timer in another function."""

    def __init__(self):
        self.result = never()
        self.gauge = Gauge()

    def beat(self):
        self.gauge.set(1)
        self.rearm()

    def rearm(self):
        asyncio.get_running_loop().call_later(1, self.beat)


async def beating():
    of = Beating()
    of.rearm()
    await of.result


async def supervised():
    supervisor = Supervisor()
    supervisor.look()
    await supervisor.result


async def in_while():
    while True:
        await never()


async def in_for():
    for _ in range(3):
        await never()


async def retries():
    while True:
        try:
            return await never()
        except OSError:
            continue


async def retries_below():
    for _ in range(3):
        with contextlib.suppress(OSError):
            async with asyncio.timeout(None):
                return await below()


async def in_handler_of_loop():
    n = 0
    while True:
        try:
            await soon()
            raise OSError
        except OSError:
            await never()
        n += 1


async def stream():
    for _ in range(3):
        yield await never()


async def ends_after_one():
    yield await never()


async def in_async_for():
    async for _ in ends_after_one():
        pass


async def streams_once():
    await anext(ends_after_one())


async def streams():
    await anext(stream())


async def in_comprehension():
    return [await never() for _ in range(3)]


async def gathering_again():
    while True:
        await asyncio.gather(asyncio.create_task(gathered_again(), name="named"))


async def gathered_again():
    await never()


# A timer ends one, and starts the next.
def next_job():
    asyncio.get_running_loop().call_later(0.1, next_job)
    never_set.pop().set_result(None)
    asyncio.create_task(job(), name="job")


async def job():
    future = asyncio.get_running_loop().create_future()
    never_set.append(future)
    await future


tasks = []
ONCE = [plain, after_others, before_others, in_branch, in_handler, in_block, below, ends_its_loop, in_match, streams_once, watched, supervised, beating]
AGAIN = [in_while, in_for, retries, retries_below, in_handler_of_loop, in_async_for, streams, in_comprehension]


async def main():
    loop = asyncio.get_running_loop()

    def beat():
        loop.call_later(0.02, beat)

    beat()
    for function in [*ONCE, *AGAIN, gathering, grouping, gathering_again]:
        tasks.append(asyncio.create_task(function()))
    tasks.append(asyncio.create_task(named(), name="named"))
    await asyncio.sleep(0.1)
    tasks.append(asyncio.create_task(job(), name="job"))
    await asyncio.sleep(0)
    next_job()
    await asyncio.sleep(0.1)
    announce_line('{"ready": true}')
    await asyncio.Event().wait()


asyncio.run(main())
