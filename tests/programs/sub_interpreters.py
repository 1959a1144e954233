"""A loop in the main interpreter and one in each of two sub-interpreters, each in its own thread."""

import asyncio
import json
import os
import sys
import threading
from concurrent import interpreters

from _truth import IN_TASK_GROUP, Truth, announce_line, call_when_idle, end_with_stdin, park

truth = Truth()

IN_SUB_INTERPRETER = """
import sys
sys.path.insert(0, folder)
import asyncio, os
from _truth import Truth, call_when_idle, park, IN_TASK_GROUP

truth = Truth()

async def leaf():
    await park()

async def sub_main():
    me = truth.task(asyncio.current_task(), name, [*IN_TASK_GROUP, "sub_main"], interpreter=number)
    call_when_idle(asyncio.get_running_loop(), tell)
    async with asyncio.TaskGroup() as group:
        for n in range(2):
            task = group.create_task(leaf(), name=f"{name}/{n}")
            truth.task(task, f"{name}/{n}", ["sleep", "park", "leaf"], [me], interpreter=number)

def tell():
    os.write(pipe, truth.as_json().encode() + b"\\n")

loop = asyncio.new_event_loop()
loop.run_until_complete(loop.create_task(sub_main(), name=name))
"""


def start_sub_interpreter(name):
    """Runs a loop in a new interpreter; returns what its tasks are, once they stand."""
    reads, writes = os.pipe()
    interpreter = interpreters.create()
    interpreter.prepare_main(
        folder=os.path.dirname(os.path.abspath(__file__)),
        name=name,
        number=interpreter.id,
        pipe=writes,
    )
    threading.Thread(target=interpreter.exec, args=[IN_SUB_INTERPRETER], daemon=True).start()
    with os.fdopen(reads) as answer:
        line = answer.readline()
    return json.loads(line)["tasks"]


async def leaf():
    await park()


async def main(others):
    me = truth.task(asyncio.current_task(), "main", [*IN_TASK_GROUP, "main"])
    loop = asyncio.get_running_loop()
    end_with_stdin(loop)
    truth.entries.extend(others)
    call_when_idle(loop, lambda: announce_line(truth.as_json()))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(leaf(), name="main/leaf")
        truth.task(task, "main/leaf", ["sleep", "park", "leaf"], [me])


others = start_sub_interpreter("sub a") + start_sub_interpreter("sub b")
loop = asyncio.new_event_loop()
loop.run_until_complete(loop.create_task(main(others), name="main"))
