"""The same graph for every tool.

It has `size.models` weights, a compile for each of them and each of `size.backends`, an archive and a flag file for
each backend, a pack for every two. Each task joins its inputs and adds a line with its name.

`scale` has them built. Slipway's own is in `scale_dodo.py`; here are those of the peers, each in the form that suits
it: plain doit and SCons call a Python function, the others run `cat`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Size(NamedTuple):
    """How large the graph is."""

    models: int
    backends: int

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return self.models * (1 + self.backends) + 2 * self.backends + self.backends // 2

    def __str__(self) -> str:
        return f"{self.models}x{self.backends}"


class Task(NamedTuple):
    """One task: what it is called, what it reads. Its output is `build/<name>`."""

    name: str
    reads: tuple[str, ...]


def tasks(size: Size) -> Iterator[Task]:
    """All tasks, upstream before downstream."""
    models, backends = range(size.models), range(size.backends)
    yield from (Task(f"weights-m{m}", (f"src/m{m}.txt",)) for m in models)
    yield from (Task(f"compile-m{m}-b{b}", (f"build/weights-m{m}",)) for b in backends for m in models)
    yield from (Task(f"archive-b{b}", tuple(f"build/compile-m{m}-b{b}" for m in models)) for b in backends)
    yield from (Task(f"flags-b{b}", (f"build/archive-b{b}",)) for b in backends)
    yield from (Task(f"pack-b{b}", (f"build/archive-b{b}", f"build/archive-b{b + 1}")) for b in backends[:-1:2])


def sources(size: Size, folder: Path) -> None:
    """Write what the graph begins with."""
    (folder / "src").mkdir(parents=True)
    for m in range(size.models):
        (folder / f"src/m{m}.txt").write_text(f"source m{m}\n")


def touch(folder: Path, model: int) -> None:
    """Change one source."""
    with (folder / f"src/m{model}.txt").open("a") as file:
        file.write("changed\n")


def make(size: Size, folder: Path) -> None:
    """A Makefile."""
    every = " ".join(f"build/{task.name}" for task in tasks(size))
    rules = [
        f"build/{task.name}: {' '.join(task.reads)}\n\t@cat $^ > $@ && echo {task.name} >> $@\n" for task in tasks(size)
    ]
    (folder / "build").mkdir()
    (folder / "Makefile").write_text(f".DELETE_ON_ERROR:\nall: {every}\n" + "".join(rules))


def ninja(size: Size, folder: Path) -> None:
    """A build.ninja."""
    rules = [f"build build/{task.name}: join {' '.join(task.reads)}\n  line = {task.name}\n" for task in tasks(size)]
    (folder / "build.ninja").write_text(
        "rule join\n  command = cat $in > $out && echo $line >> $out\n  description = $out\n" + "".join(rules)
    )


JOIN = """import os

def read(name):
    fd = os.open(name, os.O_RDONLY)
    data = os.read(fd, 65536)
    if len(data) == 65536:
        while more := os.read(fd, 65536):
            data += more
    os.close(fd)
    return data

def write(name, data):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(fd, data)
    os.close(fd)

"""
"""With as little of Python as can be: it is the tools that are compared. (A buffer of 1 MiB would be mapped and
unmapped for every read, at five times the cost of reading one of these files.)"""


def scons(size: Size, folder: Path) -> None:
    """An SConstruct."""
    calls = [
        f"env.Command('build/{task.name}', {list(task.reads)}, action, LINE='{task.name}')\n" for task in tasks(size)
    ]
    head = JOIN + (
        "def join(target, source, env):\n"
        "    data = b''.join(read(str(node)) for node in source)\n"
        "    write(str(target[0]), data + env['LINE'].encode() + b'\\n')\n\n"
        "env = Environment(tools=[])\n"
        "action = Action(join, cmdstr='$TARGET', varlist=['LINE'])\n"
    )
    (folder / "SConstruct").write_text(head + "".join(calls))


def doit(size: Size, folder: Path) -> None:
    """A dodo.py: doit's quickest database (json) and checker (a file with the same time is the same)."""
    (folder / "build").mkdir()
    (folder / "dodo.py").write_text(
        JOIN
        + f"MODELS, BACKENDS = {size.models}, {size.backends}\n"
        + """DOIT_CONFIG = {"backend": "json", "dep_file": ".doit.json", "verbosity": 0, "reporter": "executed-only"}

def join(target, reads, line):
    write(target, b"".join(map(read, reads)) + line.encode())

def task(kind, name, reads):
    target = f"build/{kind}-{name}"
    return {
        "basename": kind, "name": name, "actions": [(join, [target, reads, f"{kind}-{name}\\n"])],
        "file_dep": reads, "targets": [target],
    }

def task_all():
    models, backends = range(MODELS), range(BACKENDS)
    for m in models:
        yield task("weights", f"m{m}", [f"src/m{m}.txt"])
    for b in backends:
        for m in models:
            yield task("compile", f"m{m}-b{b}", [f"build/weights-m{m}"])
    for b in backends:
        yield task("archive", f"b{b}", [f"build/compile-m{m}-b{b}" for m in models])
    for b in backends:
        yield task("flags", f"b{b}", [f"build/archive-b{b}"])
    for b in backends[:-1:2]:
        yield task("pack", f"b{b}", [f"build/archive-b{b}", f"build/archive-b{b + 1}"])
"""
    )


def snakemake(size: Size, folder: Path) -> None:
    """A Snakefile."""
    (folder / "Snakefile").write_text(
        f"M, B = {size.models}, {size.backends}\n"
        r"""
wildcard_constraints: m=r"\d+", b=r"\d+"

rule all:
    input: [f"build/flags-b{b}" for b in range(B)], [f"build/pack-b{b}" for b in range(0, B - 1, 2)]
rule weights:
    input: "src/m{m}.txt"
    output: "build/weights-m{m}"
    shell: "cat {input} > {output} && echo weights-m{wildcards.m} >> {output}"
rule compile:
    input: "build/weights-m{m}"
    output: "build/compile-m{m}-b{b}"
    shell: "cat {input} > {output} && echo compile-m{wildcards.m}-b{wildcards.b} >> {output}"
rule archive:
    input: lambda wildcards: [f"build/compile-m{m}-b{wildcards.b}" for m in range(M)]
    output: "build/archive-b{b}"
    shell: "cat {input} > {output} && echo archive-b{wildcards.b} >> {output}"
rule flags:
    input: "build/archive-b{b}"
    output: "build/flags-b{b}"
    shell: "cat {input} > {output} && echo flags-b{wildcards.b} >> {output}"
rule pack:
    input: lambda wildcards: [f"build/archive-b{wildcards.b}", f"build/archive-b{int(wildcards.b) + 1}"]
    output: "build/pack-b{b}"
    shell: "cat {input} > {output} && echo pack-b{wildcards.b} >> {output}"
"""
    )
