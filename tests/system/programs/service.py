"""A service of the system test: `shop`: three tasks that wait; `ring`: two that wait for each other; `pool`: a
process without tasks of its own, and two workers with two tasks each; `busy`: one that never sleeps. It tells systemd when it stands."""

import asyncio
import os
import socket
import sys


def tell_ready() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])


async def wait_for_order() -> None:
    await asyncio.Event().wait()


async def shop(n: int) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(n):
            group.create_task(wait_for_order(), name=f"order-{number}")
        asyncio.get_running_loop().call_later(0.1, tell_ready)


async def ring() -> None:
    tasks: list[asyncio.Task] = []

    async def wait_for_other(other: int) -> None:
        await asyncio.sleep(0)
        await tasks[other]

    tasks += [asyncio.create_task(wait_for_other(1 - n), name=f"ring-{n}") for n in range(2)]
    asyncio.get_running_loop().call_later(0.1, tell_ready)
    await asyncio.Event().wait()


async def busy() -> None:
    asyncio.get_running_loop().call_later(0.1, tell_ready)
    while True:
        await asyncio.sleep(0)


def pool() -> None:
    for _ in range(2):
        if os.fork() == 0:
            asyncio.run(shop(1))
    os.waitpid(-1, 0)


match sys.argv[1]:
    case "shop":
        asyncio.run(shop(2))
    case "ring":
        asyncio.run(ring())
    case "busy":
        asyncio.run(busy())
    case "pool":
        pool()
