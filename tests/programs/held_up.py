"""An event loop that is held up by what its argument says: a callback that waits (`waits`, and `beside` with another event loop
whose tasks come and go), one that computes (`computes`), one that comes late, when all timers are far (`far`), or when there are
none (`alone`), one that waits as an event loop does (`selects`), the handler of a signal (`signal`), another
thread that does not let go of the GIL (`gil`), or by nothing (`nothing`, and
`select` with another selector and no timers). Its tasks sleep and wait for jobs. With `uvloop` as well in an event loop of that kind."""

import asyncio
import selectors
import signal
import sys
import threading

from _truth import announce_line


def hold_up(how):
    if how in ("waits", "beside", "far"):
        threading.Event().wait()
    while how == "computes":
        pass
    if how == "selects":
        selectors.DefaultSelector().select()


def come_late():
    asyncio.get_running_loop().call_later(0.1, print)
    hold_up("far")


async def ticks(period):
    while True:
        await asyncio.sleep(period)


async def worker():
    await asyncio.Queue().get()


async def come_and_go():
    while True:
        await asyncio.create_task(asyncio.sleep(0.05))


async def main(how):
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker(), name="worker")
        if how not in ("alone", "select"):
            group.create_task(ticks(3600 if how == "far" else 0.5), name="ticks")
        if how == "alone":
            threading.Timer(0.5, loop.call_soon_threadsafe, [hold_up, "waits"]).start()
        elif how == "far":
            threading.Timer(4, loop.call_soon_threadsafe, [come_late]).start()
        elif how == "signal":
            signal.signal(signal.SIGALRM, lambda *_: hold_up("waits"))
            signal.setitimer(signal.ITIMER_REAL, 0.7)
        elif how == "gil":
            threading.Timer(0.7, sum, [range(10**15)]).start()
        elif how != "select":
            loop.call_later(0.7, hold_up, how)
        if how == "beside":
            threading.Thread(target=asyncio.run, args=[come_and_go()], daemon=True).start()
        announce_line('{"ready": true}')


if sys.argv[2:] == ["uvloop"]:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1]))
elif sys.argv[1] == "select":
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(main("select"))
else:
    asyncio.run(main(sys.argv[1]))
