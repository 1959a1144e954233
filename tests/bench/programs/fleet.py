"""N processes, each with a loop and M tasks of its own, forked from one so that they share what can be shared.

Every second one only waits. In the others a task hands out work at irregular times, about once a second, which
one of the waiting tasks then does. The parent tells the pids, once all loops have all their tasks. All of them end when
the parent's standard input is closed.
"""

import asyncio
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../programs"))

from _truth import announce_line, call_when_idle, wait_for_stdin

N_PROCESSES = int(sys.argv[1])
N_TASKS = int(sys.argv[2])
PER_GROUP = 8


async def job():
    await asyncio.sleep(random.random() / 10)


async def worker(queue):
    while True:
        await queue.get()
        await job()


async def group(queue, n):
    async with asyncio.TaskGroup() as members:
        for _ in range(n):
            members.create_task(worker(queue))


async def hands_out(queue):
    while True:
        await asyncio.sleep(random.random() * 2)
        queue.put_nowait(None)


async def main(is_busy, ready, parent):
    loop = asyncio.get_running_loop()
    # The other end is open as long as the parent lives.
    loop.add_reader(parent, os._exit, 0)
    call_when_idle(loop, lambda: os.write(ready, b"."))
    queue = asyncio.Queue()
    left = N_TASKS - 1
    async with asyncio.TaskGroup() as groups:
        if is_busy:
            groups.create_task(hands_out(queue))
            left -= 1
        while left > 0:
            n = min(PER_GROUP, left - 1)
            groups.create_task(group(queue, n))
            left -= n + 1


def child(number, ready, parent, lifeline):
    os.close(lifeline)
    os.close(0)
    random.seed(number)
    asyncio.run(main(number % 2 == 1, ready, parent))


told, ready = os.pipe()
parent, lifeline = os.pipe()
pids = []
for number in range(N_PROCESSES):
    pid = os.fork()
    if pid == 0:
        child(number, ready, parent, lifeline)
    pids.append(pid)
left = N_PROCESSES
while left > 0:
    left -= len(os.read(told, 65536))
announce_line(json.dumps({"ready": True, "pids": pids}))
wait_for_stdin()
