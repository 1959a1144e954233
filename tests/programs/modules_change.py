"""A program that has imported asyncio, runs no event loop, and imports and forgets modules all the time."""

import asyncio
import os
import random
import sys
import threading
import types


def churn():
    module = types.ModuleType("x")
    while True:
        n = random.randrange(3000)
        for i in range(n):
            sys.modules[f"x{i}"] = module
        for i in range(n):
            del sys.modules[f"x{i}"]


assert asyncio
threading.Thread(target=churn, daemon=True).start()
os.write(1, b'{"ready": true}\n')
while os.read(0, 65536):
    pass
os._exit(0)
