"""A fake of the compile worker: every call in a forked child of the test's process, which has TVM imported.

It keeps the worker's promises that the steps rely on (JSON in and out, a stage computed once and forked, errors
rebuilt, output in the log) and none about speed or cleaning up.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from pipeline import errors
from pipeline.action import Job
from pipeline.documents.codec import decode, encode
from pipeline.engine import sources
from pipeline.steps import compile_relax, toolchain
from pipeline.steps import params as params_step


class FakeWorker:
    """See the module. `stages` are those asked for; equal ones count once."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def call(self, work: partial, *, log: Path, after: partial | None = None, cpu_limit: float | None = None):
        if after is not None and (stage := str((after.func, encode(after.keywords)))) not in self.stages:
            self.stages.append(stage)
        calls = [one for one in (after, work) if one is not None]
        value = run_forked([(one.func, encode(one.keywords)) for one in calls], log, cpu_limit)
        return decode(get_type_hints(work.func).get("return", Any), value, work.func.__name__)


class FakeServices:
    def __init__(self, worker, fresh) -> None:
        self._worker, self._fresh = worker, fresh

    def worker(self, toolchain, *, fresh=None):
        assert toolchain == "current"
        return self._fresh if fresh and self._fresh else self._worker

    def progress(self, done, total, unit):
        pass


ANYWHERE = {
    "arch": "x86_64",
    "platform": "linux",
    "deployment_target": None,
    "format": "elf",
    "system_libraries": [],
    "frameworks": [],
}
"""What a compile does not ask of a backend."""

PROBE = {
    "python": "3",
    "tvm": "0",
    "tvm_library": None,
    "tvm_ffi": "0",
    "mlc_llm": None,
    "codegens": ["llvm", "metal", "opencl", "webgpu"],
    "fork": True,
    "metal_simdgroup": False,
}
"""A `probe.json`."""


def typed(params):
    """The parameters of the step that has all of these; those of another job as they are."""
    if not isinstance(params, Mapping):
        return params
    if "backend" in params:
        backend = {**ANYWHERE, **params["backend"]}
        return decode(compile_relax.Params, {**params, "backend": backend}, "params")
    return decode(params_step.Params if "model" in params else toolchain.Params, {"lock": None, **params}, "params")


def make_job(tmp_path: Path, params, inputs, worker, name="job", *, fresh=None) -> Job:
    out = tmp_path / name
    out.mkdir()
    services, digests = FakeServices(worker, fresh), {role: behind(path) for role, path in inputs.items()}
    return Job(typed(params), inputs, {}, out, tmp_path / f"{name}.log", services, tmp_path / "cache", digests)


def behind(path: Path) -> dict[str, str]:
    """What the engine says of a source: the digests of the files behind it."""
    return {
        str(file.relative_to(path.parent)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sources.behind(path).files
        if file.is_file()
    }


def run_forked(calls, log: Path, cpu_limit: float | None = None):
    """Run functions one after the other in a child, each given the result of the one before; return the last result."""
    calls = [(function, json.loads(json.dumps(arguments))) for function, arguments in calls]
    sys.stdout.flush()
    receive, send = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of threads, which do nothing here
        child = os.fork()
    if child == 0:
        try:
            os.close(receive)
            file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.dup2(file, 1)
            os.dup2(file, 2)
            sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False, buffering=1) for n in (1, 2))
            if cpu_limit:
                resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_limit), int(cpu_limit) + 5))
            with os.fdopen(send, "w") as answer:
                answer.write(json.dumps(_answer(calls)))
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive) as answer:
        text = answer.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        raise errors.CompilerCrash(f"the compiler died of {signal.Signals(-status).name}", log=log)
    reply = json.loads(text)
    if "error" in reply:
        raise getattr(errors, reply["error"])(reply["what"], where=reply["where"], hint=reply["hint"])
    return reply["value"]


def _answer(calls):
    try:
        state = ()
        for function, arguments in calls:
            if isinstance(function, str):
                module, _, name = function.partition(":")
                function = getattr(importlib.import_module(module), name)  # noqa: PLW2901
            types = get_type_hints(function)
            typed = {one: decode(types.get(one, Any), value, one) for one, value in arguments.items()}
            state = (function(*state, **typed),)
        return {"value": encode(state[0])}
    except errors.SlipwayError as error:
        where = None if error.where is None else str(error.where)
        return {"error": type(error).__name__, "what": error.what, "where": where, "hint": error.hint}
    except Exception as error:  # noqa: BLE001 - the worker tells its caller everything, too
        traceback.print_exc()
        return {"error": "StepError", "what": f"{type(error).__name__}: {error}", "where": None, "hint": None}
