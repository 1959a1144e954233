"""A function whose line table is longer than 4 096 bytes, suspended at its end."""

import asyncio

from _truth import Truth, park

truth = Truth()

LINES = 500
SOURCE = "\n".join(
    [
        "async def big():",
        "    x = 0",
        *["    x = x + len(str(x)) if x % 3 else x * 2" for _ in range(LINES)],
        "    await park()",
        "    return x",
    ]
)


async def main():
    functions = {"park": park}
    exec(compile(SOURCE, "generated/big.py", "exec"), functions)
    big = functions["big"]
    assert 4_096 < len(big.__code__.co_linetable) < 65_536
    me = truth.task(asyncio.current_task(), "Task-1", ["main"])
    truth.announce_when_idle()
    task = asyncio.create_task(big(), name="big")
    truth.task(task, "big", ["sleep", "park", "big"], [me], lines=True)
    await task


asyncio.run(main())
