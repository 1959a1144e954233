"""Like `churn.py`, of tasks that are implemented in Python."""

import asyncio
import sys
import threading

import _churn
from _truth import use_python_tasks, wait_for_stdin

use_python_tasks()
new_event_loop = asyncio.new_event_loop


def new_loop_of_python_tasks():
    loop = new_event_loop()
    create = asyncio.tasks._PyTask
    loop.set_task_factory(lambda loop, coro, **options: create(coro, loop=loop, **options))
    return loop


asyncio.new_event_loop = new_loop_of_python_tasks
_churn.set_up()
n_workers = _churn.set_rate(sys.argv[1:])
threading.Thread(target=wait_for_stdin, daemon=True).start()
_churn.run_main(n_workers, _churn.announce)
