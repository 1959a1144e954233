"""Tasks that wait for long: some with a reason, by their names `fine ...`, and some that are stuck, `stuck ...`. With
`uvloop` in an event loop of that kind."""

import asyncio
import concurrent.futures
import contextlib
import functools
import signal
import socket
import sys
import threading

from _truth import announce_line

never = threading.Event()


def future():
    return asyncio.get_running_loop().create_future()


async def in_thread():
    await asyncio.to_thread(never.wait)


async def shielded_thread():
    await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, never.wait))


async def in_executor():
    await asyncio.get_running_loop().run_in_executor(None, never.wait)


async def in_timeout():
    async with asyncio.timeout(15):
        await future()


async def in_wait_for():
    await asyncio.wait_for(future(), 15)


async def in_wait():
    await asyncio.wait([future()], timeout=15)


async def in_an_hour():
    async with asyncio.timeout(3600):
        await future()


async def until_set():
    result = future()
    asyncio.get_running_loop().call_later(3600, result.set_result, None)
    await result


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
    await asyncio.wait_for(lost(), 3600)


async def queued():
    only = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    only.submit(never.wait)
    await asyncio.get_running_loop().run_in_executor(only, never.wait)


async def across():
    other = asyncio.new_event_loop()
    threading.Thread(target=other.run_forever, daemon=True).start()
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(3600), other))


async def for_signal():
    result = future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, result.set_result, None)
    await result


async def for_signal_lambda():
    result = future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, lambda: result.set_result(None))
    await result


def end(result):
    result.set_result(None)


async def for_reader():
    result = future()
    ours, theirs = socket.socketpair()
    asyncio.get_running_loop().add_reader(ours, end, result)
    sockets.extend([ours, theirs])
    await result


async def for_writer():
    result = future()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(b"x" * 65536)
    asyncio.get_running_loop().add_writer(ours, functools.partial(end, result))
    sockets.extend([ours, theirs])
    await result


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
sockets = []
FINE = [in_thread, in_executor, in_timeout, in_wait_for, in_wait, in_an_hour, until_set, until_cancelled, again_and_again, above, worker, across, shielded_thread, for_signal, for_signal_lambda, for_reader, for_writer]
STUCK = [shielding, far, queued, lost, borrowing, main]


async def serve():
    for function in FINE:
        start(f"fine {function.__name__}", function())
    for function in STUCK:
        start(f"stuck {function.__name__}", function())
    await asyncio.sleep(0.1)
    announce_line('{"ready": true}')
    # As many programs wait for their end.
    await future()


if sys.argv[1:] == ["uvloop"]:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
else:
    asyncio.run(serve())
