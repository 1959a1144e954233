"""Lines of tasks that wait for their turn. With the argument "give_up", ones in which nobody's turn comes, and whoever has a time
limit joins and gives up: for a lock, a semaphore and a pool. With "turns", ones that move, with an event for each turn, as in
limiters of packages: of 30 tasks that do the same, and of 10 functions in which each wait takes long. With "paused", one whose event
loop runs now and then."""

import asyncio
import random
import sys
import threading
import time

from _truth import announce_line, end_with_stdin, wait_for_stdin


async def waits(line):
    async with line:
        pass


async def with_time_limit(line):
    try:
        async with asyncio.timeout(random.uniform(0.05, 0.2)):
            await waits(line)
    except TimeoutError:
        pass


async def tries(line):
    while True:
        await asyncio.create_task(with_time_limit(line))
        await asyncio.sleep(random.uniform(0.1, 0.6))


class Pool:
    def __init__(self):
        self.free = asyncio.LifoQueue()

    async def acquire(self):
        return await self.free.get()

    async def __aenter__(self):
        await self.acquire()

    async def __aexit__(self, *_):
        pass


class Limiter:
    """One at a time, in the order in which they came."""

    def __init__(self):
        self.line = []
        self.is_taken = False

    async def acquire(self):
        if self.is_taken:
            event = asyncio.Event()
            self.line.append(event)
            await event.wait()
        self.is_taken = True

    def release(self):
        if self.line:
            self.line.pop(0).set()
        else:
            self.is_taken = False


async def alike(limiter):
    while True:
        await limiter.acquire()
        await asyncio.sleep(0.04)
        limiter.release()


def one_of_many():
    async def function(limiter):
        while True:
            await limiter.acquire()
            await asyncio.sleep(0.4)
            limiter.release()

    # Another line of code, as if written somewhere else.
    function.__code__ = function.__code__.replace(co_firstlineno=1_000 + 100 * len(functions))
    functions.append(function)
    return function


functions = []


async def main(kind):
    end_with_stdin(asyncio.get_running_loop())
    async with asyncio.TaskGroup() as group:
        if kind == "give_up":
            lock, semaphore = asyncio.Lock(), asyncio.BoundedSemaphore(1)
            await lock.acquire()
            await semaphore.acquire()
            for name, line in [("lock", lock), ("semaphore", semaphore), ("pool", Pool())]:
                group.create_task(waits(line), name=name)
                # Some of them at the same time.
                for _ in range(3):
                    group.create_task(tries(line))
        else:
            limiter, slow = Limiter(), Limiter()
            for _ in range(30):
                group.create_task(alike(limiter))
            for _ in range(10):
                group.create_task(one_of_many()(slow))
        announce_line('{"ready": true}')


async def a_moment():
    await asyncio.sleep(0.02)


def pauses():
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        lock = asyncio.Lock()
        loop.run_until_complete(lock.acquire())
        left = loop.create_task(waits(lock), name="left")
        loop.run_until_complete(a_moment())
        announce_line('{"ready": true}')
        while not left.done():
            time.sleep(1)
            loop.run_until_complete(a_moment())


if sys.argv[1] == "paused":
    threading.Thread(target=wait_for_stdin, daemon=True).start()
    pauses()
else:
    asyncio.run(main(sys.argv[1]))
