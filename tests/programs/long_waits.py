"""Tasks that wait for long: some with a reason, by their names `fine ...`, and some that are stuck, `stuck ...`."""

import asyncio
import contextlib
import threading

from _truth import announce_line

never = threading.Event()


def future():
    return asyncio.get_running_loop().create_future()


async def in_thread():
    await asyncio.to_thread(never.wait)


async def in_executor():
    await asyncio.get_running_loop().run_in_executor(None, never.wait)


async def in_timeout():
    async with asyncio.timeout(15):
        await future()


async def in_wait_for():
    await asyncio.wait_for(future(), 15)


async def in_wait():
    await asyncio.wait([future()], timeout=15)


async def until_cancelled():
    asyncio.get_running_loop().call_later(15, asyncio.current_task().cancel)
    await future()


async def again_and_again():
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(future(), 3)


async def below():
    await future()


async def above():
    async with asyncio.timeout(15):
        await asyncio.gather(start("fine below", below()))


async def shielding():
    async with asyncio.timeout(15):
        await asyncio.shield(start("stuck shielded", below()))


async def far():
    await asyncio.wait_for(future(), 3600)


async def lost():
    await future()


class Pool:
    def __init__(self):
        self.free = asyncio.Queue()

    async def acquire(self):
        return await self.free.get()


async def borrowing():
    await Pool().acquire()


async def flush(lock):
    async with lock:
        pass


async def main():
    lock = asyncio.Lock()
    await lock.acquire()
    await flush(lock)


async def worker():
    await asyncio.Queue().get()


def start(name, coroutine):
    task = asyncio.create_task(coroutine, name=name)
    tasks.append(task)
    return task


tasks = []
FINE = [in_thread, in_executor, in_timeout, in_wait_for, in_wait, until_cancelled, again_and_again, above, worker]
STUCK = [shielding, far, lost, borrowing, main]


async def serve():
    for function in FINE:
        start(f"fine {function.__name__}", function())
    for function in STUCK:
        start(f"stuck {function.__name__}", function())
    await asyncio.sleep(0.1)
    announce_line('{"ready": true}')
    # As many programs wait for their end.
    await future()


asyncio.run(serve())
