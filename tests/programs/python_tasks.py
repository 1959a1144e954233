"""Tasks that are implemented in Python, native ones beside them, and one of another library."""

import asyncio
import threading

from _truth import FOREVER, IN_TASK_GROUP, Truth, park, use_python_tasks

PyTask = asyncio.tasks._PyTask
use_python_tasks()

AWAITING_TASK = "Future.__await__"
PARKED = ["sleep", "park"]

truth = Truth(loops=2)


class Subclass(PyTask):
    """Its instances have a dict, once somebody asked for it, and attributes of their own."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.__dict__["extra"] = "more"


class WithoutSharedKeys(PyTask):
    """Its instances have a dict that shares nothing with others."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        for n in range(100):
            setattr(self, f"attribute_{n}", n)


class Foreign(asyncio.Future):
    """A task of another library, which `_asyncio` keeps in a set of its own."""

    def __init__(self, coro, *, loop, name):
        super().__init__(loop=loop)
        self._coro, self._name = coro, name
        asyncio._register_task(self)


async def leaf():
    await park()


async def awaits(task):
    await task


async def gathers(*tasks):
    await asyncio.gather(*tasks)


async def opens_group():
    me = truth.task(asyncio.current_task(), "group", [*IN_TASK_GROUP, "opens_group"])
    async with asyncio.TaskGroup() as group:
        for name in ["first", "second"]:
            child = group.create_task(leaf(), name=name)
            truth.task(child, name, [*PARKED, "leaf"], [me])


async def cleans_up():
    try:
        await park()
    finally:
        await park()


async def ends():
    pass


def python(cls, coroutine, name):
    return cls(coroutine, loop=asyncio.get_running_loop(), name=name)


async def main():
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, coro, **options: PyTask(coro, loop=loop, **options))
    native = asyncio.Task(leaf(), loop=loop, name="native")
    awaited = loop.create_task(leaf(), name="awaited")
    gathered = [loop.create_task(leaf(), name="größe"), python(Subclass, leaf(), "sub")]
    alone = python(WithoutSharedKeys, leaf(), "many attributes")
    awaiter = loop.create_task(awaits(awaited), name="awaiter")
    both = loop.create_task(awaits(native), name="awaits native")
    native_awaiter = asyncio.Task(awaits(alone), loop=loop, name="native awaiter")
    gatherer = loop.create_task(gathers(*gathered), name="gatherer")
    group = loop.create_task(opens_group(), name="group")
    cancelled = loop.create_task(cleans_up(), name="cancelled")
    foreign = Foreign(leaf(), loop=loop, name="foreign")
    done = loop.create_task(ends(), name="done")
    dead = loop.create_task(ends(), name="dead")

    awaiting = [AWAITING_TASK, "awaits"]
    truth.task(awaiter, "awaiter", awaiting)
    truth.task(both, "awaits native", ["awaits"])
    truth.task(native_awaiter, "native awaiter", awaiting)
    truth.task(gatherer, "gatherer", ["gathers"])
    truth.task(native, "native", [*PARKED, "leaf"], [both])
    truth.task(awaited, "awaited", [*PARKED, "leaf"], [awaiter], lines=True)
    truth.task(gathered[0], "größe", [*PARKED, "leaf"], [gatherer])
    truth.task(gathered[1], "sub", [*PARKED, "leaf"], [gatherer])
    truth.task(alone, "many attributes", [*PARKED, "leaf"], [native_awaiter])
    truth.task(cancelled, "cancelled", [*PARKED, "cleans_up"], cancelling=True)
    truth.task(foreign, "foreign", ["leaf"], state="created")
    await asyncio.sleep(0)
    cancelled.cancel()
    del dead
    # Reference cycles of tasks that ended; what refers to them weakly is then gone too.
    await asyncio.sleep(0)
    assert done.done()
    truth.announce_when_idle()
    await asyncio.sleep(FOREVER)


async def other_main():
    truth.announce_when_idle()
    await asyncio.sleep(FOREVER)


def run(coroutine, name):
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        me = PyTask(coroutine, loop=loop, name=name)
        truth.task(me, name, ["sleep", coroutine.__qualname__])
        loop.run_until_complete(me)


def run_thread():
    run(other_main(), "other")


thread = threading.Thread(target=run_thread, daemon=True)
thread.start()
run(main(), "main")
