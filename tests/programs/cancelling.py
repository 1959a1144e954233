"""Tasks whose cancellation was asked for, and which wait on."""

import asyncio

from _truth import Truth, park

truth = Truth()


async def refuses():
    try:
        await park()
    except asyncio.CancelledError:
        await park()


async def cleans_up():
    try:
        await park()
    finally:
        await park()


async def obeys():
    await park()


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", ["main"])
    tasks = []
    for function in [refuses, cleans_up]:
        name = function.__name__
        task = asyncio.create_task(function(), name=name)
        tasks.append(truth.task(task, name, ["sleep", "park", name], [me], cancelling=True))
    calm = asyncio.create_task(obeys(), name="not cancelled")
    tasks.append(truth.task(calm, "not cancelled", ["sleep", "park", "obeys"], [me]))
    gone = asyncio.create_task(obeys(), name="gone")
    await asyncio.sleep(0)
    for task in [*tasks[:2], gone]:
        task.cancel()
    truth.announce_when_idle()
    await asyncio.gather(*tasks)


asyncio.run(main())
