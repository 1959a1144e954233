"""Tasks that wait for long: some with a reason, by their names `fine ...`, and some that are stuck, `stuck ...`. With
`uvloop` in an event loop of that kind."""

import asyncio
import collections
import concurrent.futures
import contextlib
import functools
import heapq
import signal
import socket
import ssl
import sys
import threading
import time
import typing

from _truth import announce_line

never = threading.Event()


def future():
    return asyncio.get_running_loop().create_future()


async def in_thread():
    await asyncio.to_thread(never.wait)


async def shielded_thread():
    await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, never.wait))


async def in_executor():
    await asyncio.get_running_loop().run_in_executor(None, never.wait)


async def in_timeout():
    async with asyncio.timeout(15):
        await future()


async def in_wait_for():
    await asyncio.wait_for(future(), 15)


async def in_wait():
    await asyncio.wait([future()], timeout=15)


async def in_an_hour():
    async with asyncio.timeout(3600):
        await future()


async def until_set():
    result = future()
    asyncio.get_running_loop().call_later(3600, result.set_result, None)
    await result


async def until_cancelled():
    asyncio.get_running_loop().call_later(15, asyncio.current_task().cancel)
    await future()


async def again_and_again():
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(future(), 3)


async def below():
    await future()


async def above():
    async with asyncio.timeout(15):
        await asyncio.gather(start("fine below", below()))


async def shielding():
    async with asyncio.timeout(15):
        await asyncio.shield(start("stuck shielded", below()))


async def far():
    await asyncio.wait_for(lost(), 3600)


async def queued():
    only = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    only.submit(never.wait)
    await asyncio.get_running_loop().run_in_executor(only, never.wait)


async def across():
    other = asyncio.new_event_loop()
    threading.Thread(target=other.run_forever, daemon=True).start()
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(3600), other))


async def for_signal():
    result = future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, result.set_result, None)
    await result


async def for_signal_lambda():
    result = future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, lambda: result.set_result(None))
    await result


def end(result):
    result.set_result(None)


def end_safely(result):
    if not result.done():
        end(result)


async def for_reader():
    result = future()
    ours, theirs = socket.socketpair()
    asyncio.get_running_loop().add_reader(ours, end, result)
    sockets.extend([ours, theirs])
    await result


class Asked(typing.NamedTuple):
    answer: asyncio.Future
    kind: str


class Messages:
    """As pyzmq's sockets do it: the handler is a lambda, and the futures stand in named tuples."""

    def __init__(self):
        self.asked = collections.deque()
        ours, theirs = socket.socketpair()
        asyncio.get_running_loop().add_reader(ours, lambda: self.handle(0))
        sockets.extend([self, ours, theirs])

    def handle(self, _):
        self.asked.popleft().answer.set_result(None)

    def receive_later(self):
        asked = Asked(future(), "receive")
        self.asked.append(asked)
        return asked.answer


async def for_message():
    await Messages().receive_later()


async def for_poll():
    # The second of two callbacks ends what is waited for.
    arrived, result = Messages().receive_later(), future()
    arrived.add_done_callback(lambda _: None)
    arrived.add_done_callback(lambda _: result.set_result(True))
    await result


class Streams:
    """As tornado's event loop does it: one handler for all, which finds methods in a table."""

    def __init__(self):
        self.handlers = {}

    def handle(self, file):
        self.handlers[file][1]()


class Stream:
    def __init__(self, streams):
        self.read = future()
        ours, theirs = socket.socketpair()
        streams.handlers[ours.fileno()] = (ours, self.handle)
        asyncio.get_running_loop().add_reader(ours, streams.handle, ours.fileno())
        sockets.extend([ours, theirs])

    def handle(self):
        self.read.set_result(None)


async def for_stream():
    await Stream(Streams()).read


async def for_writer():
    result = future()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(b"x" * 65536)
    asyncio.get_running_loop().add_writer(ours, functools.partial(end, result))
    sockets.extend([ours, theirs])
    await result


async def until_lambda():
    result = future()
    asyncio.get_running_loop().call_later(15, lambda: result.set_result(None))
    await result


async def until_partial():
    result = future()
    asyncio.get_running_loop().call_later(15, functools.partial(end, result))
    await result


async def until_given():
    result = future()
    asyncio.get_running_loop().call_later(15, end_safely, result)
    await result


async def until_default():
    result = future()
    asyncio.get_running_loop().call_later(15, lambda result=result: end_safely(result))
    await result


async def until_method():
    stopping = Stopping()
    asyncio.get_running_loop().call_later(15, stopping.stop)
    await stopping.stopped


async def until_released():
    lock = asyncio.Lock()
    await lock.acquire()
    asyncio.get_running_loop().call_later(3600, lock.release)
    await lock.acquire()


class Batch:
    def __init__(self):
        self.results = [future()]

    def flush(self):
        for result in self.results:
            result.set_result(None)


async def until_flushed():
    batch = Batch()
    asyncio.get_running_loop().call_later(15, batch.flush)
    await batch.results[0]


class Limiter:
    def __init__(self):
        self.line = [(time.monotonic(), future())]
        self.set_timer()

    def set_timer(self):
        self.timer = asyncio.get_running_loop().call_later(15, self.wake_next)

    def wake_next(self):
        _, result = heapq.heappop(self.line)
        result.set_result(None)
        self.timer = asyncio.get_running_loop().call_later(15, self.wake_next)


async def until_turn():
    await Limiter().line[0][1]


async def until_cancelled_by_lambda():
    task = asyncio.current_task()
    asyncio.get_running_loop().call_later(15, lambda: task.cancel())
    await future()


class Lost(asyncio.Protocol):
    def __init__(self):
        self.closed = future()

    def connection_lost(self, _):
        self.closed.set_result(None)


async def for_connection():
    server = await asyncio.get_running_loop().create_server(Lost, "127.0.0.1", 0)
    sockets.append(server)
    port = server.sockets[0].getsockname()[1]
    _, protocol = await asyncio.get_running_loop().create_connection(Lost, "127.0.0.1", port)
    await protocol.closed


async def for_datagrams():
    address = ("127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_datagram_endpoint(Lost, local_addr=address)
    await protocol.closed


class Asking(asyncio.Protocol):
    def __init__(self):
        self.answers = {}
        self.in_order = collections.deque()

    def ask(self, number):
        self.answers[number] = future()
        return self.answers[number]

    def ask_next(self):
        self.in_order.append((time.monotonic(), future()))
        return self.in_order[-1][1]


class Slotted(asyncio.Protocol):
    __slots__ = ("_loop", "_closed")

    def __init__(self):
        self._closed = future()


async def connected(kind):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    transport, protocol = await asyncio.get_running_loop().create_connection(kind, sock=ours)
    sockets.extend([transport, theirs])
    return protocol


async def for_answer():
    protocol = await connected(Asking)
    await protocol.ask(1)


async def for_next_answer():
    protocol = await connected(Asking)
    await protocol.ask_next()


async def for_slot():
    protocol = await connected(Slotted)
    await protocol._closed


async def for_peer():
    # Nobody accepts, and those that are kept are too many.
    listening = socket.create_server(("127.0.0.1", 0), backlog=0)
    sockets.append(listening)
    for _ in range(3):
        other = socket.socket()
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            other.connect(listening.getsockname())
        sockets.append(other)
    await asyncio.open_connection(*listening.getsockname())


async def for_handshake():
    listening = socket.create_server(("127.0.0.1", 0))
    sockets.append(listening)
    context = ssl.create_default_context()
    await asyncio.open_connection(
        *listening.getsockname(), ssl=context, server_hostname="none", ssl_handshake_timeout=3600
    )


class Child(asyncio.SubprocessProtocol):
    def __init__(self):
        self.exited = future()

    def process_exited(self):
        self.exited.set_result(True)


async def for_child():
    run = asyncio.get_running_loop().subprocess_exec
    # It ends with us.
    transport, protocol = await run(Child, "cat", stdout=None, stderr=None)
    sockets.append(transport)
    await protocol.exited


async def for_serving():
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        await server.serve_forever()


async def for_accept():
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    await asyncio.get_running_loop().sock_accept(listening)


class Stopping:
    def __init__(self):
        self.stopped = future()

    def stop(self):
        self.stopped.set_result(None)


async def for_method():
    stopping = Stopping()
    asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, stopping.stop)
    await stopping.stopped


async def for_closed():
    # Its protocol has lost the connection, and nobody will set what another one has made of it.
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    transport, protocol = await asyncio.get_running_loop().create_connection(Lost, sock=ours)
    sockets.append(transport)
    theirs.close()
    await protocol.closed
    protocol.closed = future()
    await protocol.closed


async def lost():
    await future()


class Pool:
    def __init__(self):
        self.free = asyncio.Queue()

    async def acquire(self):
        return await self.free.get()


async def borrowing():
    await Pool().acquire()


async def flush(lock):
    async with lock:
        pass


async def main():
    lock = asyncio.Lock()
    await lock.acquire()
    await flush(lock)


async def worker():
    await asyncio.Queue().get()


def start(name, coroutine):
    task = asyncio.create_task(coroutine, name=name)
    tasks.append(task)
    return task


tasks = []
sockets = []
FINE = [in_thread, in_executor, in_timeout, in_wait_for, in_wait, in_an_hour, until_set, until_cancelled, again_and_again, above, worker, across, shielded_thread, for_signal, for_signal_lambda, for_reader, for_writer, for_connection, for_datagrams, for_child, for_serving, for_accept, for_method, until_lambda, until_partial, until_given, until_default, until_method, until_released, until_flushed, until_turn, until_cancelled_by_lambda, for_message, for_poll, for_stream, for_answer, for_next_answer, for_slot, for_peer, for_handshake]
STUCK = [shielding, far, queued, lost, borrowing, main, for_closed]


async def serve():
    for function in FINE:
        start(f"fine {function.__name__}", function())
    for function in STUCK:
        start(f"stuck {function.__name__}", function())
    await asyncio.sleep(0.1)
    announce_line('{"ready": true}')
    # As many programs wait for their end.
    await future()


if sys.argv[1:] == ["uvloop"]:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
else:
    asyncio.run(serve())
