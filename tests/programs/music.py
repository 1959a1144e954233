"""The example of the README: two albums, each playing its tracks. Also the first golden case."""

import asyncio

from _truth import FOREVER, IN_TASK_GROUP, Truth

ALBUMS = {
    "Sundowning": ["TNDNBTG", "Levitate"],
    "TMBTE": ["DYWTYLM", "Aqua Regia"],
}


async def play(track):
    await asyncio.sleep(FOREVER)


async def album(name, tracks):
    async with asyncio.TaskGroup() as group:
        for track in tracks:
            group.create_task(play(track), name=track)


async def main():
    tell_when_idle(asyncio.current_task())
    async with asyncio.TaskGroup() as group:
        for name, tracks in ALBUMS.items():
            group.create_task(album(name, tracks), name=name)


def tell_when_idle(main_task):
    truth = Truth("the example")

    def fill():
        # The main task has a default name, and asking for that would change how it is kept.
        others = asyncio.all_tasks(main_task.get_loop()) - {main_task}
        named = {task.get_name(): task for task in others}
        truth.task(main_task, "Task-1", [*IN_TASK_GROUP, "main"])
        for name, tracks in ALBUMS.items():
            truth.task(named[name], name, [*IN_TASK_GROUP, "album"], [main_task])
            for track in tracks:
                truth.task(named[track], track, ["sleep", "play"], [named[name]])

    truth.announce_when_idle(fill=fill)


if __name__ == "__main__":
    asyncio.run(main())
