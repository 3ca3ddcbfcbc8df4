"""A program that speaks the protocol of `pipeline.runners.wire` and misbehaves as its first argument says.

Its model doubles what it is given. The parameters' folder is printed for people, on stderr.
"""

import os
import signal
import struct
import sys
import time

IN, OUT = sys.stdin.buffer, sys.stdout.buffer
HOW = sys.argv[1]


def say(*parts: bytes) -> None:
    OUT.write(b"".join(parts))
    OUT.flush()


def value():
    kind, *rest = IN.readline().decode().split()
    if kind == "tensor":
        shape = [int(n) for n in rest[2:]]
        size = 4
        for extent in shape:
            size *= extent
        return rest[0], shape, IN.read(size)
    if kind in {"text", "parameter"}:
        return IN.read(int(rest[0])).decode()
    if kind == "array":
        return [value() for _ in range(int(rest[0]))]
    return None if kind == "none" else " ".join(rest)


def tensor(dtype, shape, data) -> bytes:
    return f"tensor {dtype} {len(shape)} {' '.join(map(str, shape))}\n".encode() + data


def doubled(argument) -> bytes:
    dtype, shape, data = argument
    numbers = [2 * x for x in struct.unpack(f"<{len(data) // 4}f", data)]
    if HOW == "nan":
        numbers[0] = float("nan")
    if HOW == "shape":
        shape = [len(numbers)]
    return tensor(dtype, shape, struct.pack(f"<{len(numbers)}f", *numbers))


ODD = {
    "slow": b"done %s\nnone\n" % (b"9" * 400),
    "nested": b"done 1\n" + b"array 1\n" * 1000 + b"none\n",
    "dtype": b"done 1\ntensor f4,( 1 1\n0000",
    "endless": b"done 1\ntensor float32 2 0 %s\n" % (b"9" * 30),
    "nothing": b"done 1\nnone\n",
    "number": b"done 1\nfloat 1.5\n",
}

if HOW == "mute":
    time.sleep(60)
if HOW == "talks":
    say(b"hello, I am a program\n")
if HOW == "lacks":
    say(b"lacks 26\nno GPU\ninstall one (a big)")
    sys.exit(1)
say(b"ready 9 0\n" if HOW == "old" else b"ready 1 4\nfake")
calls = 0
while line := IN.readline():
    verb, name, count = line.decode().split()
    arguments = [value() for _ in range(int(count))]
    calls += verb == "call"
    if verb == "call" and ("crash" if calls == 1 else "later") == HOW:
        os.kill(os.getpid(), signal.SIGSEGV)
    if HOW == "real-time" and verb == "call":
        os.kill(os.getpid(), 40)
    if HOW == "exit" and verb == "call":
        sys.exit(7)
    if HOW == "hang" and verb == "call":
        if os.fork() == 0:
            time.sleep(60)
        time.sleep(60)
    if HOW == "fail" and verb == "call":
        why = b"Traceback\nValueError: no such thing"
        say(b"failed %d\n" % len(why), why)
    elif HOW == "huge" and verb == "call":
        say(b"done 5\ntensor float32 1 99999999999999\n")
    elif HOW == "few" and verb == "call":
        say(b"done 5\narray 1\n", doubled(arguments[0]))
    elif HOW in ODD and verb == "call":
        say(ODD[HOW])
    elif HOW == "several" and verb == "call":
        say(b"done 5\narray 2\n", doubled(arguments[0]), doubled(arguments[0]))
    elif HOW == "chatty" and verb == "call":
        say(b"done 5\n", doubled(arguments[0]), b"hello\n")
    elif verb == "call":
        say(b"done 2000000\n", doubled(arguments[0]))
    elif verb == "runtime":
        say(b"done 1\n", b"held 3\n" if name == "make" else b"array 3\nint -4\nshape 2 5 6\ntext 3\na\xc3\xa9")
    else:
        sys.stderr.write(f"parameters in {arguments[0]}\n")
        say(b"done 1\nnone\n")
if HOW == "late-crash":
    os.kill(os.getpid(), signal.SIGSEGV)
if HOW == "late-hang":
    time.sleep(60)
sys.exit(3 if HOW == "late-exit" else 0)
