"""Functions, classes and files with names that are not ASCII, nested functions, lambdas."""

import asyncio
import types

from _truth import IN_TASK_GROUP, Truth, park

truth = Truth()

SOURCE = """
async def größe():
    await park()

class Числа:
    async def считать(self):
        await größe()

async def 测量():
    await Числа().считать()
"""


def compiled(file):
    functions = {"park": park}
    exec(compile(SOURCE, file, "exec"), functions)
    return functions["测量"]


def outer():
    async def inner():
        async def innermost():
            await park()

        await innermost()

    return inner


class Outside:
    class Inside:
        async def method(self):
            await park()

    @staticmethod
    async def static():
        await park()

    @classmethod
    async def of_class(cls):
        await cls.Inside().method()


async def awaits_lambda():
    await types.coroutine(lambda: (yield from park()))()


async def main():
    me = truth.task(asyncio.current_task(), "Task-1", [*IN_TASK_GROUP, "main"])
    truth.announce_when_idle()
    foreign = ["sleep", "park", "größe", "Числа.считать", "测量"]
    async with asyncio.TaskGroup() as group:
        for name, coroutine, stack in [
            ("latin file", compiled("Verzeichnis/größe.py")(), foreign),
            ("wide file", compiled("/文件夹/测量.py")(), foreign),
            ("emoji file", compiled("🎵.py")(), foreign),
            (
                "closure",
                outer()(),
                ["sleep", "park", "outer.<locals>.inner.<locals>.innermost", "outer.<locals>.inner"],
            ),
            ("method", Outside.of_class(), ["sleep", "park", "Outside.Inside.method", "Outside.of_class"]),
            ("static", Outside.static(), ["sleep", "park", "Outside.static"]),
            ("lambda", awaits_lambda(), ["sleep", "park", "awaits_lambda.<locals>.<lambda>", "awaits_lambda"]),
        ]:
            task = group.create_task(coroutine, name=name)
            truth.task(task, name, stack, [me], lines=True)


asyncio.run(main())
