"""N tasks that stand still: TaskGroups of eight tasks, each of which is four coroutines deep above its
sleep. Tells what an exact reader would have to look at. With a second argument `busy` another thread
executes Python code all the time. Ends when its standard input is closed."""

import asyncio
import gc
import json
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../programs"))

from _truth import FOREVER, announce_line, call_when_idle, end_with_stdin

N_TASKS = int(sys.argv[1])
PER_GROUP = 8
# Above this the sizes are not added up: that takes longer than everything else.
COUNTED_MAX = 100_001


async def innermost():
    await asyncio.sleep(FOREVER)


async def third():
    await innermost()


async def second():
    await third()


async def first():
    await second()


async def group():
    async with asyncio.TaskGroup() as members:
        for _ in range(PER_GROUP):
            members.create_task(first())


async def main():
    loop = asyncio.get_running_loop()
    end_with_stdin(loop)
    call_when_idle(loop, announce)
    async with asyncio.TaskGroup() as groups:
        others = N_TASKS - 1
        for _ in range(others // (PER_GROUP + 1)):
            groups.create_task(group())
        for _ in range(others % (PER_GROUP + 1)):
            groups.create_task(first())


def announce():
    tasks = asyncio.all_tasks()
    assert len(tasks) == N_TASKS
    told = {"ready": True, "tasks": N_TASKS}
    if N_TASKS <= COUNTED_MAX:
        told["needed"] = bytes_needed(tasks)
    if sys.argv[2:] == ["busy"]:
        threading.Thread(target=be_busy, daemon=True).start()
    announce_line(json.dumps(told))


def be_busy():
    while True:
        sum(range(1_000))


def bytes_needed(tasks):
    """The sizes of the objects that say who awaits whom and where, as the interpreter gives them: of each
    task the task, its name (an int), its coroutines with their frames, and the iterator and the future at
    the bottom; of each function, once, its code, line table and names."""
    needed = 0
    codes = {}
    for task in tasks:
        needed += task.__sizeof__() + (1 << 20).__sizeof__()
        awaited = task.get_coro()
        while hasattr(awaited, "cr_await"):
            needed += awaited.__sizeof__()
            codes[id(awaited.cr_code)] = awaited.cr_code
            awaited = awaited.cr_await
        # The future's type is looked at, which takes the head of the object.
        needed += awaited.__sizeof__() + object().__sizeof__()
    for code in codes.values():
        parts = [code, code.co_linetable, code.co_qualname, code.co_filename]
        needed += sum(part.__sizeof__() for part in parts)
    return needed


# A million tasks are many objects to look at again and again.
gc.disable()
asyncio.run(main())
