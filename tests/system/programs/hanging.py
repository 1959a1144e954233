"""Processes that make whoever reads them hang in the kernel: the page of the interpreter's table is that of a file in a
file system (FUSE) which never tells what is in it. Takes no rights: `unshare --user --map-root-user --mount`.

Arguments: a folder, and how many of them.
"""

import asyncio
import ctypes
import os
import struct
import sys

folder, count = sys.argv[1], int(sys.argv[2])
os.makedirs(folder, exist_ok=True)
libc = ctypes.CDLL(None, use_errno=True)
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if libc.mount(b"fuse", folder.encode(), b"fuse", 0, options):
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")

# See fuse(4) and include/uapi/linux/fuse.h.
LOOKUP, GETATTR, OPEN, READ, INIT, FORGET, BATCH_FORGET = 1, 3, 14, 15, 26, 2, 42


def attributes(inode, mode, size):
    return struct.pack("<6Q10I", inode, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def serve():
    while True:
        try:
            request = os.read(fuse, 1 << 20)
        except OSError:
            return
        _, code, unique, node, *_ = struct.unpack("<IIQQIIII", request[:40])
        answer, error = b"", 0
        if code in (READ, FORGET, BATCH_FORGET):
            continue
        if code == INIT:
            answer = struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 12, 9, 1 << 17, 1, 0, 0, 0, *([0] * 7))
        elif code == LOOKUP:
            answer = struct.pack("<QQQQII", 2, 0, 60, 60, 0, 0) + attributes(2, 0o100644, 1 << 20)
        elif code == GETATTR:
            own = attributes(1, 0o40755, 0) if node == 1 else attributes(2, 0o100644, 1 << 20)
            answer = struct.pack("<QII", 60, 0, 0) + own
        elif code == OPEN:
            answer = struct.pack("<QII", 1, 0, 0)
        else:
            error = -38
        os.write(fuse, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)


if os.fork() == 0:
    serve()
    os._exit(0)
os.close(fuse)
# Once for all: whoever opens it later waits for those who read it.
file = os.open(folder + "/x", os.O_RDWR)
for _ in range(count - 1):
    if os.fork() == 0:
        break


async def main():
    print(os.getpid(), flush=True)
    table = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
    mmap = libc.mmap
    mmap.restype = ctypes.c_void_p
    mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    # MAP_PRIVATE | MAP_FIXED: this process itself hangs from here on.
    mmap(table & ~4095, 8192, 3, 0x12, file, 0)
    await asyncio.sleep(1e6)


# Who is root in a user namespace is not dumpable, as far as can be told, and so is nobody's but root's.
os.unshare(os.CLONE_NEWUSER)
with open("/proc/self/uid_map", "w") as uid_map:
    uid_map.write("1000 0 1")
asyncio.run(main())
