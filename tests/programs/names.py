"""Task names of every kind of text."""

import asyncio

from _truth import IN_TASK_GROUP, Truth, park

NAMES = [
    "héllo",  # one byte a character, not ASCII
    "中文",  # two bytes
    "🎵",  # four bytes
    "aé中🎵",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "مرحبا",
    "right\u202eto left\u202c",
    "zero\u200bwidth \u0065\u0301",
    "👩\u200d👩\u200d👧",
    "quote \" back\\slash {brace} % 'single'",
    " spaces around ",
    "",
    "Task-x",
    "-> arrow",
    "line\u2028separator",
    "\ufeffbom and \uffff",
    "\U0010ffff",
]

truth = Truth()


async def leaf():
    await park()


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", [*IN_TASK_GROUP, "main"])
    truth.announce_when_idle()
    async with asyncio.TaskGroup() as group:
        for name in NAMES:
            task = group.create_task(leaf(), name=name)
            truth.task(task, name, ["sleep", "park", "leaf"], [me])


asyncio.run(main())
