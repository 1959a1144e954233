"""Tasks whose thread has ended: their loop was stopped, they were not. Another loop goes on."""

import asyncio
import threading

from _truth import Truth, park

truth = Truth(loops=1)
kept = []


async def left_behind():
    await park()


async def starts_others():
    me = asyncio.current_task()
    for n in range(3):
        task = asyncio.create_task(left_behind(), name=f"left behind {n}")
        kept.append(truth.task(task, f"left behind {n}", ["sleep", "park", "left_behind"], thread=0))
    # One round, in which each of them gets to its sleep.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return me


def short_lived():
    loop = asyncio.new_event_loop()
    kept.append(loop)
    loop.run_until_complete(loop.create_task(starts_others(), name="ended"))


async def main():
    truth.task(asyncio.current_task(), "goes on", ["sleep", "park", "main"])
    truth.announce_when_idle()
    await park()


thread = threading.Thread(target=short_lived)
thread.start()
thread.join()
loop = asyncio.new_event_loop()
loop.run_until_complete(loop.create_task(main(), name="goes on"))
