"""The main thread has ended, the event loop runs in another: the process is a zombie to those who look
at its first thread only."""

import asyncio
import ctypes
import os
import threading
import time

from _truth import Truth, park, wait_for_stdin

truth = Truth()


async def survivor():
    truth.task(asyncio.current_task(), "survivor", ["sleep", "park", "survivor"])
    truth.announce_when_idle()
    await park()


def main_thread_has_ended():
    with open(f"/proc/self/task/{os.getpid()}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"


def run():
    while not main_thread_has_ended():
        time.sleep(0.001)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.run_until_complete(loop.create_task(survivor(), name="survivor"))


def end():
    wait_for_stdin()
    os._exit(0)


for function in [run, end]:
    threading.Thread(target=function, daemon=True).start()
# Called without Python's own bookkeeping, and so without its lock.
ctypes.CDLL(None).pthread_exit(None)
