"""Tasks that come and go and all have one name: one string, or each a new one of equal text, or both, as the
first argument says. What each of them is its functions say: `awaited_N` is only ever awaited by a task of
`awaiting_N`. They are in the thread number N modulo the number of threads, the second argument."""

import asyncio
import json
import random
import sys
import threading

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
N_THREADS = int(sys.argv[2])

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


async def work(kinds):
    alive = set()
    while True:
        while len(alive) < ALIVE:
            function = random.choice(kinds)
            pauses = function(random.randrange(1, 3), random.random() * random.choice([0.0005, 0.02]))
            task = asyncio.create_task(pauses, name=name())
            alive.add(task)
            task.add_done_callback(alive.discard)
        await asyncio.sleep(0)


async def main():
    loop = asyncio.get_running_loop()
    end_with_stdin(loop)
    random.seed(7)
    threads = [threading.get_native_id()]
    for thread in range(1, N_THREADS):
        other = threading.Thread(target=asyncio.run, args=[work(kinds[thread::N_THREADS])], daemon=True)
        other.start()
        threads.append(other.native_id)
    loop.call_later(0.2, announce_line, json.dumps({"ready": True, "threads": threads}))
    await work(kinds[::N_THREADS])


asyncio.run(main())
