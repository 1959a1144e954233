"""Tasks that come and go without a pause, named so that a machine can judge what is read of them.

A task's name: NUMBER~FUNCTION[*DEPTH][<AWAITER,...]@THREAD, for example `34~deep*7<33~in_group@4242`.
NUMBER is the task's own in this process. FUNCTION is its coroutine's; with a DEPTH it stands that many
times on the task's stack. Each AWAITER is the NUMBER~FUNCTION of a task that may await this one; no
other ever does. THREAD is the native id of the thread that created the task.

Every line of this file at which a task can be suspended says in a comment `#> ...` which frames then
follow inwards, `|` between alternatives. One that ends with a function of this file goes on as the line
in that function says; any other ends there, in a future or a bare `yield`.
"""

import asyncio
import contextlib
import itertools
import json
import random
import re
import sys
import threading
import types

from _truth import FOREVER, announce_line

# By the number of tasks started in a second: how many tasks make others in turn, and the mean length
# of a leaf's sleep in seconds.
RATES = {
    "hundreds": (40, 0.2),
    "thousands": (240, 0.1),
    "tens-of-thousands": (120, 0.002),
}

numbers = itertools.count(1)
mean_pause = 0.0
# Lasting tasks, by name: whoever reads everything finds them.
lasting = []


def set_rate(arguments):
    """Sets how long leaves sleep, by the program's argument; returns how many workers make that rate."""
    global mean_pause
    rate = arguments[0] if arguments else "thousands"
    workers, mean_pause = RATES[rate]
    return workers


def pause():
    """The length of a sleep; nothing at all now and then, which is a bare `yield`."""
    return max(0, random.random() * 3 - 0.5) * mean_pause


def some_time():
    """A timeout: now and then shorter than what it guards."""
    return pause() * 2 + 0.0005


def label(function, depth=0):
    return f"{next(numbers)}~{function.__name__}" + (f"*{depth}" if depth else "")


def spawn(create, me, awaiters, coroutine, **options):
    """Creates the task `me`, which only `awaiters` may await."""
    by = "<" + ",".join(awaiters) if awaiters else ""
    name = f"{me}{by}@{threading.get_native_id()}"
    return create(coroutine, name=name, **options)


def start(awaiter, function, *arguments, create=asyncio.create_task, **options):
    """Creates a task that only `awaiter` may await."""
    me = label(function)
    return spawn(create, me, [awaiter], function(me, *arguments), **options)


def start_root(loop, function):
    """Creates a task that nobody awaits."""
    if function is deep:
        me = label(deep, 5)
        return spawn(loop.create_task, me, [], deep(me, 5))
    me = label(function)
    return spawn(loop.create_task, me, [], function(me))


def start_any(awaiter, create=asyncio.create_task):
    """Creates one of the simple tasks, or one of any depth."""
    if random.random() < 0.25:
        depth = random.randint(1, 30)
        me = label(deep, depth)
        return spawn(create, me, [awaiter], deep(me, depth))
    return start(awaiter, random.choice(SIMPLE), create=create)


# Tasks without tasks of their own.


async def leaf(me):
    await asyncio.sleep(pause())  #> sleep | sleep __sleep0


async def nap():
    await asyncio.sleep(pause())  #> sleep | sleep __sleep0


async def first_part():
    await nap()  #> nap


async def second_part():
    await asyncio.sleep(pause())  #> sleep | sleep __sleep0


async def in_parts(me):
    await first_part()  #> first_part
    await second_part()  #> second_part


async def deep(me, depth):
    if depth > 1:
        await deep(me, depth - 1)  #> deep
    else:
        await asyncio.sleep(pause())  #> sleep | sleep __sleep0


async def busy(me):
    for _ in range(random.randrange(2_000)):
        pass
    await asyncio.sleep(0)  #> sleep __sleep0


async def stream(n):
    try:
        for number in range(n):
            await nap()  #> nap
            yield number
    finally:
        await second_part()  #> second_part


async def streaming(me):
    async with contextlib.aclosing(stream(2)) as numbers:  #> aclosing.__aexit__ stream
        async for _ in numbers:  #> stream
            await asyncio.sleep(pause())  #> sleep | sleep __sleep0


async def stepping(me):
    async with contextlib.aclosing(stream(3)) as numbers:  #> aclosing.__aexit__ stream
        await anext(numbers)  #> stream
        await anext(numbers, None)  #> stream


class Delegating:
    def __await__(self):
        yield from nap().__await__()  #> nap


@types.coroutine
def legacy():
    yield from first_part()  #> first_part


async def through_generators(me):
    await Delegating()  #> Delegating.__await__
    await legacy()  #> legacy


async def in_timeout(me):
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(some_time()):
            await nap()  #> nap
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(nap(), some_time())  #> wait_for nap


async def sleeper(me):
    await asyncio.sleep(FOREVER)  #> sleep


async def stubborn(me):
    try:
        await asyncio.sleep(FOREVER)  #> sleep
    finally:
        await nap()  #> nap


async def failing(me):
    await nap()  #> nap
    raise ValueError


SIMPLE = [leaf, leaf, in_parts, busy, streaming, stepping, through_generators, in_timeout]

# Tasks that await others, each in its own way.


async def plainly(me):
    await start_any(me)  #>
    task = start_any(me)
    await second_part()  #> second_part
    await task  #>


async def in_group(me, height=1):
    async with asyncio.TaskGroup() as group:  #> TaskGroup.__aexit__ TaskGroup._aexit
        for _ in range(3):
            start_any(me, group.create_task)
        if height:
            start(me, in_group, height - 1, create=group.create_task)
        await second_part()  #> second_part


async def in_failing_group(me):
    with contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:  #> TaskGroup.__aexit__ TaskGroup._aexit
            start(me, failing, create=group.create_task)
            start(me, stubborn, create=group.create_task)
            start_any(me, group.create_task)


async def in_gather(me):
    inner = asyncio.gather(start_any(me), start_any(me))
    await asyncio.gather(inner, start_any(me), start(me, plainly))  #>


async def in_failing_gather(me):
    tasks = [start(me, failing), start_any(me), start_any(me)]
    with contextlib.suppress(ValueError):
        await asyncio.gather(*tasks)  #>
    await asyncio.wait(tasks)  #> wait _wait


async def in_wait(me):
    tasks = [start_any(me) for _ in range(4)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)  #> wait _wait
    await asyncio.wait(tasks, timeout=pause())  #> wait _wait
    await asyncio.wait(tasks)  #> wait _wait


async def in_wait_for(me):
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(start_any(me), some_time())  #> wait_for
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(start(me, stubborn), some_time())  #> wait_for


async def in_shield(me):
    inner = start_any(me)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(some_time()):
            await asyncio.shield(inner)  #>
    await inner  #>


async def as_completed(me):
    tasks = [start_any(me) for _ in range(3)]
    for coming in asyncio.as_completed(tasks):
        await coming  #> _AsCompletedIterator._wait_for_one Queue.get
    tasks = [start_any(me) for _ in range(2)]
    async for _ in asyncio.as_completed(tasks):  #> _AsCompletedIterator.__anext__ _AsCompletedIterator._wait_for_one Queue.get
        await second_part()  #> second_part


async def cancelling(me):
    tasks = [start(me, sleeper), start(me, stubborn), start_any(me)]
    await asyncio.sleep(pause())  #> sleep | sleep __sleep0
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)  #> wait _wait


async def eager(me):
    create = asyncio.get_running_loop().create_task
    tasks = [start(me, function, create=create, eager_start=True) for function in SIMPLE]
    await asyncio.wait(tasks)  #> wait _wait


# Several await one.


async def shares_plainly(me, shared):
    await shared  #>


async def shares_in_gather(me, shared):
    await asyncio.gather(shared)  #>


async def shares_in_wait(me, shared):
    await asyncio.wait([shared])  #> wait _wait


async def shares_in_shield(me, shared):
    await asyncio.wait_for(asyncio.shield(shared), FOREVER)  #> wait_for


SHARES = [shares_plainly, shares_in_gather, shares_in_wait, shares_in_shield]


async def sharing(me):
    functions = random.sample(SHARES, random.randint(2, 4))
    labels = [label(function) for function in functions]
    task = label(in_parts)
    shared = spawn(asyncio.create_task, task, labels, in_parts(task))
    tasks = [
        spawn(asyncio.create_task, awaiter, [me], function(awaiter, shared))
        for awaiter, function in zip(labels, functions)
    ]
    await asyncio.wait(tasks)  #> wait _wait


async def attending(me, future):
    await future  #>


async def meeting(me):
    future = asyncio.get_running_loop().create_future()
    tasks = [start(me, attending, future) for _ in range(4)]
    await nap()  #> nap
    future.set_result(None)
    await asyncio.gather(*tasks)  #>


async def getting(me, queue):
    await queue.get()  #> Queue.get


async def queueing(me):
    queue = asyncio.Queue()
    async with asyncio.TaskGroup() as group:  #> TaskGroup.__aexit__ TaskGroup._aexit
        for _ in range(3):
            start(me, getting, queue, create=group.create_task)
        for _ in range(3):
            await nap()  #> nap
            queue.put_nowait(None)


async def in_circle(me, tasks):
    await asyncio.wait(tasks[:1], timeout=pause())  #> wait _wait


async def circling(me):
    labels = [label(in_circle), label(in_circle)]
    there, back = [], []
    for mine, other, awaited, told in [(*labels, there, back), (*labels[::-1], back, there)]:
        task = spawn(asyncio.create_task, mine, [other, me], in_circle(mine, awaited))
        told.append(task)
    await asyncio.wait(there + back)  #> wait _wait


AWAITING = [
    plainly,
    in_group,
    in_group,
    in_failing_group,
    in_gather,
    in_failing_gather,
    in_wait,
    in_wait_for,
    in_shield,
    as_completed,
    cancelling,
    eager,
    sharing,
    meeting,
    queueing,
    circling,
]


async def working(me):
    while True:
        await start(me, random.choice(AWAITING))  #>


async def main(me, n_workers, then):
    async with asyncio.TaskGroup() as group:  #> TaskGroup.__aexit__ TaskGroup._aexit
        for _ in range(n_workers):
            lasting.append(start(me, working, create=group.create_task).get_name())
        await asyncio.sleep(0.2)  #> sleep
        then()


def run_main(n_workers, then):
    """Runs a loop whose tasks never end, and calls `then` in it once it is under way."""
    loop = asyncio.new_event_loop()
    me = label(main)
    task = spawn(loop.create_task, me, [], main(me, n_workers, then))
    lasting.append(task.get_name())
    loop.run_until_complete(task)


def announce():
    """Tells what the names and the lines of this file mean."""
    announce_line(json.dumps({"ready": True, "file": __file__, "lines": lines(), "lasting": lasting}))


def lines():
    """For each line at which a task may be suspended: its function, and the frames that follow."""
    with open(__file__, encoding="utf-8") as file:
        text = file.read()
    owners = {}
    add_owners(compile(text, __file__, "exec"), owners)
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.search(r"  #>(.*)", line):
            follows = [names.split() for names in match[1].split("|")]
            found[number] = {"function": owners[number], "next": follows}
    return found


def add_owners(code, owners):
    for _, _, line in code.co_lines():
        owners[line] = code.co_qualname
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            add_owners(constant, owners)


def set_up():
    """What both programs need: no report of tasks that were given up, deterministic choices."""
    import logging

    logging.getLogger("asyncio").disabled = True
    sys.unraisablehook = lambda _: None
    random.seed(7)
