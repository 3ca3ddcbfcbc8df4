"""A fake of the modules of a toolchain: functions that a worker calls in its children."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline.errors import MatrixError, Position, VerifyError

IMPORTED_BY = os.getpid()


def add(a, b):
    return a + b


def chatter(words):
    print(words)
    print(words.upper(), file=sys.stderr)
    os.write(1, b"from below\n")
    subprocess.run(["echo", "from a tool"], check=True)


def pids():
    return {"imported": IMPORTED_BY, "self": os.getpid(), "parent": os.getppid()}


def environment():
    return dict(os.environ)


def descriptors():
    return sorted(int(path.name) for path in Path("/dev/fd").iterdir())


def tool_descriptors():
    return subprocess.run(["ls", "/dev/fd"], check=True, capture_output=True, text=True).stdout.split()


def big(size):
    return "x" * size


def not_json():
    return {"a": object()}


def burn(seconds):
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass
    return "done"


def hold(size):
    return len(bytearray(b"x" * size))


def die(number):
    os.kill(os.getpid(), number)
    time.sleep(10)


def die_half_way(size):
    """Ends while its result, larger than a socket takes, is being written."""
    signal.setitimer(signal.ITIMER_REAL, 0.3)  # SIGALRM ends it
    return {"text": "y" * size}


def leave(status):
    os._exit(status)


def leave_child_behind():
    """Dies while a grandchild still holds all of its descriptors."""
    pid = os.fork()
    if pid == 0:
        time.sleep(8)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGSEGV)


def wrong_matrix():
    raise MatrixError("no such preset", where=Position("targets.yaml", 3, 5), hint="did you mean iphone?")


def wrong_artifact(path):
    raise VerifyError("no constructor", where=Path(path), hint="link with -force_load")


class OwnError(VerifyError):
    """Unknown to the tree."""


def own_error():
    raise OwnError("special")


def leave_politely():
    raise SystemExit("enough")


def recipe(path, name):
    """Runs a user's file, as the compilers do."""
    scope = {}
    exec(compile(Path(path).read_text(), path, "exec"), scope)  # noqa: S102 - a recipe is trusted like a Makefile
    return scope[name]()


def lower(trace, n, fail=None, sleep=0.0):
    """A stage: leaves a line in `trace` for each time it ran, so that tests can count."""
    with Path(trace).open("a") as file:
        file.write(f"{os.getpid()}\n")
    print("lowering", n)
    time.sleep(sleep)
    if fail == "raise":
        raise VerifyError("cannot lower", hint="write it otherwise")
    if fail == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    return {"n": n, "unsendable": object()}


def codegen(state, times=1):
    print("generating", state["n"])
    return {"n": state["n"] * times, "self": os.getpid(), "parent": os.getppid()}


def codegen_crash(state):
    os.kill(os.getpid(), signal.SIGABRT)


def limit_of_parent(state):
    return resource.prlimit(os.getppid(), resource.RLIMIT_CPU)[0]


def meet(state, folder, others):
    """Returns once that many calls run at the same time."""
    mine = Path(folder, str(os.getpid()))
    mine.touch()
    deadline = time.monotonic() + 20
    while len(list(Path(folder).iterdir())) < others:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def sleep_with_children(folder):
    """Leaves the ids of a tool it runs, of itself and of its parent in a file, and stays."""
    tool = subprocess.Popen(["sleep", "30"])
    Path(folder, "unfinished").write_text(f"{tool.pid} {os.getpid()} {os.getppid()}")
    Path(folder, "unfinished").rename(Path(folder, "pids"))
    time.sleep(30)


def sleep_after(state, folder):
    sleep_with_children(folder)


def lower_dense(n):
    """A stage as the real compiler has it: a Relax module for the host, lowered."""
    import tvm
    from tvm import relax
    from tvm.relax.frontend import nn

    module, _ = nn.Linear(n, n).export_tvm({"forward": {"x": nn.spec.Tensor((1, n), "float32")}})
    target = tvm.target.Target({"kind": "llvm"})
    with target:
        return relax.get_default_pipeline(target)(module), target


def generate_dense(state, prefix):
    import hashlib

    from tvm import relax

    module, target = state
    module = module.with_attrs({"system_lib_prefix": prefix})
    built = relax.build(module, target=target, relax_pipeline=None, system_lib=True)
    return hashlib.sha256(built.mod.imports[0].inspect_source("asm").encode()).hexdigest()
