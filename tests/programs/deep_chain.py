"""5 000 tasks, each awaiting the next."""

import asyncio

from _truth import Truth, park

DEPTH = 5_000

truth = Truth()


async def link(number):
    if number == DEPTH:
        await park()
    else:
        me = asyncio.current_task()
        following = asyncio.create_task(link(number + 1), name=f"link {number + 1}")
        stack = ["link"] if number + 1 < DEPTH else ["sleep", "park", "link"]
        truth.task(following, f"link {number + 1}", stack, [me])
        await following


async def main():
    truth.task(asyncio.current_task(), "Task-1", ["link", "main"])
    truth.announce_when_idle()
    await link(1)


asyncio.run(main())
