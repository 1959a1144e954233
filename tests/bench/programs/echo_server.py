"""An echo server on asyncio's streams, with other tasks that wait. Tells its port; ends when its standard
input is closed."""

import asyncio
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../programs"))

from _truth import FOREVER, announce_line, end_with_stdin

N_WAITING = int(sys.argv[1])


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def main():
    end_with_stdin(asyncio.get_running_loop())
    async with asyncio.TaskGroup() as group:
        for _ in range(N_WAITING):
            group.create_task(asyncio.sleep(FOREVER))
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        announce_line(json.dumps({"ready": True, "port": port}))


asyncio.run(main())
