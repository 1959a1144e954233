"""A function whose line table is longer than 65 536 bytes, suspended at its end."""

import asyncio

from _truth import Truth, park

truth = Truth()

LINES = 5_000
SOURCE = "\n".join(
    [
        "async def huge():",
        "    x = 0",
        *["    x = x + len(str(x)) if x % 3 else x * 2" for _ in range(LINES)],
        "    await park()",
        "    return x",
    ]
)


async def main():
    functions = {"park": park}
    exec(compile(SOURCE, "generated/huge.py", "exec"), functions)
    huge = functions["huge"]
    assert len(huge.__code__.co_linetable) > 65_536
    me = truth.task(asyncio.current_task(), "Task-1", ["main"])
    truth.announce_when_idle()
    task = asyncio.create_task(huge(), name="huge")
    truth.task(task, "huge", ["sleep", "park", "huge"], [me], lines=True)
    await task


asyncio.run(main())
