"""asyncio is imported, but there is neither loop nor task."""

import asyncio

from _truth import Truth, wait_for_stdin

assert asyncio.Task
Truth("no loop").announce()
wait_for_stdin()
