"""Is sent signals by a process of its own, each when the one before has arrived: an ordinary one and a
real-time one in turn. Ends well only if none was lost."""

import asyncio
import os
import signal
import threading

from _truth import Truth, park

SIGNALS = [signal.SIGUSR1, signal.SIGRTMIN + 1]
# Far longer than a signal takes on any machine.
ARRIVES_WITHIN = 60

truth = Truth()
begin, may_begin = os.pipe()
arrivals, arrived = os.pipe()
counts, count = os.pipe()
n_arrived = 0
is_ending = False


def send(pid):
    """The other process: sends until the pipe of arrivals is closed, then tells how many it were."""
    for fd in [may_begin, arrived]:
        os.close(fd)
    os.read(begin, 1)
    n_sent = 0
    while True:
        try:
            os.kill(pid, SIGNALS[n_sent % 2])
        except ProcessLookupError:
            return
        n_sent += 1
        if not os.read(arrivals, 1):
            break
    os.write(count, b"%d\n" % n_sent)


def arrives():
    global n_arrived
    n_arrived += 1
    if is_ending:
        end()
    else:
        os.write(arrived, b"x")


def end():
    """The latest signal has arrived, so the sender waits and sends no more."""
    os.close(arrived)
    n_sent = int(os.read(counts, 100))
    os._exit(0 if n_sent == n_arrived and n_sent > len(SIGNALS) else 3)


def end_soon():
    global is_ending
    if not os.read(0, 65536):
        is_ending = True
        timer = threading.Timer(ARRIVES_WITHIN, os._exit, [4])
        timer.daemon = True
        timer.start()


async def main():
    truth.task(asyncio.current_task(), "Task-1", ["sleep", "park", "main"])
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, arrives)
    loop.add_reader(0, end_soon)
    truth.announce_when_idle(watch_stdin=False, fill=lambda: os.write(may_begin, b"x"))
    await park()


pid = os.getpid()
if os.fork() == 0:
    try:
        send(pid)
    finally:
        os._exit(0)
for fd in [begin, arrivals, count]:
    os.close(fd)
asyncio.run(main())
