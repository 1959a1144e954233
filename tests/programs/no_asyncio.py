"""A Python that never imports asyncio."""

import os
import sys

assert "asyncio" not in sys.modules
os.write(1, b'{"ready": true, "tasks": [], "note": "no asyncio"}\n')
while os.read(0, 65536):
    pass
assert "asyncio" not in sys.modules
