"""Does as it is told on its standard input: `cycle` makes two tasks await each other, `stick` makes one wait
for an answer that does not come, `mend` lets all of them go on. Beside that it works: a task wakes up again
and again, so that the process never sleeps for long.
"""

import asyncio
import os

from _truth import Truth, call_when_idle

truth = Truth("cycles and stuck tasks on demand")
broken = []


async def awaits(others):
    # Unlike `await other`, this can be cancelled: a cycle of those would be cancelled round and round.
    await asyncio.wait(others)


async def call_upstream(answer):
    return await answer


def make_cycle():
    there, back = [], []
    there.append(asyncio.create_task(awaits(back), name="reader"))
    back.append(asyncio.create_task(awaits(there), name="writer"))
    broken.extend(there + back)


def stick():
    answer = asyncio.get_running_loop().create_future()
    broken.append(asyncio.create_task(call_upstream(answer), name="asks upstream"))


def mend():
    for task in broken:
        task.cancel()
    broken.clear()


DO = {b"cycle": make_cycle, b"stick": stick, b"mend": mend}


def told():
    words = os.read(0, 65536)
    if not words:
        os._exit(0)
    for word in words.split():
        DO[word]()


async def works():
    while True:
        await asyncio.sleep(0.01)


async def main():
    loop = asyncio.get_running_loop()
    loop.add_reader(0, told)
    work = asyncio.create_task(works(), name="works")
    call_when_idle(loop, truth.announce)
    await work


asyncio.run(main())
