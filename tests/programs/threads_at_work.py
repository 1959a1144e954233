"""Threads that wait for a lock, in system calls, sleep and compute, beside a loop that is parked. Ends
well only if nothing disturbed them."""

import asyncio
import os
import select
import threading
import time

from _truth import IN_TASK_GROUP, Truth, park

# Far longer than any of them takes to end.
ENDS_WITHIN = 60

truth = Truth()
is_over = threading.Event()
held = threading.Lock()
held.acquire()
quiet, end_of_quiet = os.pipe()
silent, silent_to_the_end = os.pipe()
there, to_there = os.pipe()
back, to_back = os.pipe()
progress = {}


def waits_for_lock():
    yield
    assert held.acquire()
    assert is_over.is_set()


def reads():
    yield
    assert os.read(quiet, 1) == b""
    assert is_over.is_set()


def sleeps():
    while not is_over.is_set():
        yield
        time.sleep(0.001)


def polls():
    with select.epoll() as epoll:
        epoll.register(silent, select.EPOLLIN)
        while not is_over.is_set():
            yield
            assert epoll.poll(0.001) == []


def waits_for_event():
    while not is_over.wait(0.001):
        yield


def computes():
    n = 1
    while not is_over.is_set():
        yield
        expected = n * 31 % 1_000_003
        for _ in range(1_000):
            assert n * 31 % 1_000_003 == expected
        n = expected or 1


def passes():
    while not is_over.is_set():
        yield
        assert os.write(to_there, b"x" * 10) == 10
        assert os.read(back, 100) == b"x" * 10
    os.close(to_there)


def echoes():
    yield
    while text := os.read(there, 100):
        assert os.write(to_back, text) == len(text)


def run(work):
    progress[work] = 0
    for _ in work():
        progress[work] += 1
    # Not reached after an exception.
    progress[work] = None


threads = [
    threading.Thread(target=run, args=[work], name=work.__name__, daemon=True)
    for work in [
        waits_for_lock,
        reads,
        sleeps,
        polls,
        waits_for_event,
        computes,
        passes,
        echoes,
    ]
]


def end():
    if os.read(0, 65536):
        return
    is_over.set()
    held.release()
    os.close(end_of_quiet)
    for thread in threads:
        thread.join(ENDS_WITHIN)
    failed = [work.__name__ for work, left in progress.items() if left is not None]
    os._exit(3 if failed else 0)


async def leaf():
    await park()


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", [*IN_TASK_GROUP, "main"])
    truth.announce_when_idle(watch_stdin=False, fill=begin)
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            task = group.create_task(leaf(), name=f"leaf {n}")
            truth.task(task, f"leaf {n}", ["sleep", "park", "leaf"], [me])


def begin():
    for thread in threads:
        thread.start()
    while len(progress) < len(threads) or not all(progress.values()):
        time.sleep(0.001)
    asyncio.get_running_loop().add_reader(0, end)


asyncio.run(main())
