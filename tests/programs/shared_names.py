"""Tasks that come and go and all have one name: one string, or each a new one of equal text, or both, as the
argument says. What each of them is its functions say: `awaited_N` is only ever awaited by a task of
`awaiting_N`."""

import asyncio
import json
import random
import sys

from _truth import announce_line, end_with_stdin

PARTS = ["wor", "ker"]
NAME = "".join(PARTS)
NAMES = {
    "one": lambda: NAME,
    "equal": lambda: "".join(PARTS),
    "both": lambda: random.choice([NAME, "".join(PARTS)]),
}
name = NAMES[sys.argv[1]]
KINDS = 40
ALIVE = 60

kinds = []
for kind in range(KINDS):
    functions = {"asyncio": asyncio, "name": name}
    exec(
        f"""
async def awaited_{kind}(pause):
    await asyncio.sleep(pause)

async def awaiting_{kind}(times, pause):
    for _ in range(times):
        await asyncio.create_task(awaited_{kind}(pause), name=name())
""",
        functions,
    )
    kinds.append(functions[f"awaiting_{kind}"])


async def main():
    loop = asyncio.get_running_loop()
    end_with_stdin(loop)
    random.seed(7)
    alive = set()
    loop.call_later(0.2, announce_line, json.dumps({"ready": True}))
    while True:
        while len(alive) < ALIVE:
            function = random.choice(kinds)
            pauses = function(random.randrange(1, 3), random.random() * random.choice([0.0005, 0.02]))
            task = asyncio.create_task(pauses, name=name())
            alive.add(task)
            task.add_done_callback(alive.discard)
        await asyncio.sleep(0)


asyncio.run(main())
