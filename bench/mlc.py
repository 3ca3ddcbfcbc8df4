"""Models of mlc_llm's: what do five cells cost, beside five `mlc_llm compile` in sequence and two at a time?

    ENVIRONMENT/bin/python tests/mlc/prepare_mlc.py CHECKOUT FOLDER    # prints the variables that this reads
    python bench/mlc.py                        # three rounds; half an hour on two idle cores
    python bench/mlc.py --rounds 1 --write     # puts the table into docs/explanation/speed.md

The model is Qwen3-0.6B in its published configuration, q4f16_1, without weights, for iPhone, Catalyst on both
architectures, WebGPU and Android. `mlc_llm compile` runs behind Slipway's driver: by itself it compiles Metal kernels
with a program that only a Mac has, links WebGPU's at once, and ignores the triple. All must make the same objects.

Run it with the Python that has Slipway.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import table
from measure import Cost, Failed, in_turn, median, ratio, run
from project import DOIT, PAGE, frozen

TARGETS = """\
version: 1
toolchains:
  mlc: {path: ENVIRONMENT, source: "$MLC_LLM_SOURCE_DIR"}
models:
  model: {compiler: mlc, toolchain: mlc, weights: {path: weights}, variants: {q4f16_1: {}}}
backends:
  ios: {preset: iphone, deployment_target: "15.0"}
  catalyst-arm64: {preset: macabi, deployment_target: "17.0"}
  catalyst-x86_64: {preset: macabi, arch: x86_64, deployment_target: "17.0"}
  web: {preset: webgpu}
  android: {preset: android}
matrix: {model: [model], backend: [ios, catalyst-arm64, catalyst-x86_64, web, android]}
"""

APPLE = ("ios", "catalyst-arm64", "catalyst-x86_64")


class Single(NamedTuple):
    """One `mlc_llm compile`: of which backend, what is run, and what it writes."""

    backend: str
    command: list[str]
    output: Path


def project(folder: Path, model: str) -> Path:
    """A project with one model, of which nothing has been built."""
    weights = folder / "weights"
    weights.mkdir(parents=True)
    shutil.copy(Path(os.environ["MLC_TEST_MODELS"]) / model / "mlc-chat-config.json", weights)
    (weights / "params_shard_0.bin").write_bytes(b"\0" * 64)
    tensor = {"name": "none", "shape": [16], "dtype": "float32", "format": "raw", "nbytes": 64, "byteOffset": 0}
    shard = {"dataPath": "params_shard_0.bin", "format": "raw-shard", "nbytes": 64, "records": [tensor]}
    (weights / "tensor-cache.json").write_text(json.dumps({"metadata": {}, "records": [shard]}))
    (folder / "dodo.py").write_text("from pipeline.dodo import DOIT_CONFIG, task_slipway\n")
    (folder / "targets.yaml").write_text(TARGETS.replace("ENVIRONMENT", os.environ["MLC_TEST_ENVIRONMENT"]))
    return folder


def singles(built: Path, scratch: Path) -> list[Single]:
    """The commands that make what a project consists of, cell by cell."""
    from pipeline.compilers import mlc, mlc_driver
    from pipeline.documents.codec import encode
    from pipeline.documents.probe import Probe
    from pipeline.doit_plugin.session import Session
    from pipeline.engine.options import Options
    from pipeline.process import package_command

    scratch.mkdir()
    probe = Probe.read(built / "build/toolchain/mlc")
    source = Path(os.environ["MLC_LLM_SOURCE_DIR"])
    made = []
    for name, action in Session(built / "targets.yaml", Options()).engine.actions.items():
        if not name.startswith("compile:"):
            continue
        model, backend = action.params.model, action.params.backend
        output = scratch / f"{backend.name}.tar"
        config = built / "weights/mlc-chat-config.json"
        words = mlc.command_line(config, model, mlc.device(backend), backend.triple, output)
        told = mlc_driver.Settings(backend.device, backend.triple, probe.metal_simdgroup, scratch / "report")
        variables = mlc.environment(scratch / f"home-{backend.name}", backend)
        variables |= {"PYTHONPATH": str(source / "python"), "SKIP_LOADING_MLCLLM_SO": "1"}
        python = f"{os.environ['MLC_TEST_ENVIRONMENT']}/bin/python"
        command = [*package_command(python, mlc_driver.__name__, json.dumps(encode(told))), *words]
        made.append(Single(backend.name, ["env", *_assigned(variables), *map(str, command)], output))
    return made


def _assigned(variables: Mapping[str, str | None]) -> Iterator[str]:
    yield from (word for name, value in variables.items() if value is None for word in ("-u", name))
    yield from (f"{name}={value}" for name, value in variables.items() if value is not None)


def check(built: Path, commands: list[Single]) -> None:
    """Both ways must have made the same objects."""
    from pipeline.binary.tar_members import read_tar

    for single in commands:
        here = {path.name: path.read_bytes() for path in built.glob(f"build/compile/*@{single.backend}+mlc/*.o")}
        for member in read_tar(single.output.read_bytes(), single.output.name):
            same = [name for name, data in here.items() if name.endswith(member.name) and data == member.data]
            if not same:
                raise Failed(f"{member.name} of {single.backend} differs")


def cells(built: Path) -> dict[str, float]:
    """CPU seconds of each compile of a project's first run, by backend; a shared part is its causer's."""
    from pipeline.doit_plugin.session import Session
    from pipeline.engine.options import Options

    engine = Session(built / "targets.yaml", Options()).engine
    found = {}
    for name, action in engine.actions.items():
        entry = engine.workspace.get(name) if name.startswith("compile:") else None
        record = None if entry is None else engine.store.record(entry.key)
        if record is not None:
            found[action.params.backend.name] = record.cpu_seconds
    return found


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="qwen3-0.6b", help="one of those that prepare_mlc.py has prepared")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    parser.add_argument("--work", type=Path, help="where to build (default: a temporary folder)")
    told = parser.parse_args()
    if missing := [name for name in ("ENVIRONMENT", "MODELS") if f"MLC_TEST_{name}" not in os.environ]:
        sys.exit(f"MLC_TEST_{missing[0]} is not set: run tests/mlc/prepare_mlc.py, which says how")
    where = table.machine()
    with tempfile.TemporaryDirectory(dir=told.work) as folder:
        text = measured(Path(folder), told.model, told.rounds)
    print(where, text, sep="\n\n")
    if told.write:
        table.write(PAGE, "mlc", f"{where} `bench/mlc.py --rounds {told.rounds}`:\n\n{text}")


def measured(folder: Path, model: str, rounds: int) -> str:
    """The table."""
    env = frozen(folder / "code")
    sys.path.insert(0, env["PYTHONPATH"])
    probed = project(folder / "probed", model)
    run([DOIT, "toolchain:mlc"], probed, env)
    alone: list[list[Cost]] = []

    def ours(number: int) -> Cost:
        return run([DOIT, "-n", "2", "compile"], project(folder / f"ours-{number}", model), env)

    def in_sequence(number: int) -> Cost:
        commands = singles(probed, folder / f"sequence-{number}")
        alone.append([run(one.command, folder) for one in commands])
        walls, cpus, sizes = zip(*alone[-1], strict=True)
        return Cost(sum(walls), sum(cpus), max(sizes))

    def two_at_a_time(number: int) -> Cost:
        commands = singles(probed, folder / f"two-{number}")
        lines = "\0".join(shlex.join(one.command) for one in commands)
        listed = folder / f"commands-{number}"
        listed.write_text(lines)
        return run(["xargs", "-0", "-a", listed, "-P", "2", "-n", "1", "sh", "-c"], folder)

    costs = in_turn({"ours": ours, "sequence": in_sequence, "two": two_at_a_time}, rounds)
    per_round = [cells(folder / f"ours-{number}") for number in range(rounds)]
    for number in range(rounds):
        for name in ("sequence", "two"):
            check(folder / f"ours-{number}", singles_again(probed, folder / f"{name}-{number}"))
    own = [Cost(cost.wall, sum(by.values()), cost.rss) for cost, by in zip(costs["ours"], per_round, strict=True)]
    apple = [Cost(1, sum(by[name] for name in APPLE), 1) for by in per_round]
    one = [Cost(1, costs_of[0].cpu, 1) for costs_of in alone]
    rows = []
    for name, label in (
        ("ours", "`doit -n 2`, fresh, with the toolchain's probe"),
        ("own", "the cells in it by themselves"),
        ("sequence", "five `mlc_llm compile` in sequence"),
        ("two", "two at a time"),
    ):
        made = own if name == "own" else costs[name]
        middle, beside = median(made), ratio(made, costs["sequence"])
        wall = "" if name == "own" else f"{middle.wall:.0f}"
        peak = "" if name == "own" else f"{middle.rss:.0f}"
        rows.append([label, f"{middle.cpu:.1f}", wall, peak, f"{beside.cpu:.2f}"])
    head = ["five cells", "CPU s", "wall s", "MiB", "CPU, beside in sequence"]
    apart = f"Three Apple slices cost {median(apple).cpu:.1f} s of CPU, {ratio(apple, one).cpu:.2f} × one."
    return f"{table.markdown(head, rows)}\n\n{apart} All objects were equal."


def singles_again(built: Path, scratch: Path) -> list[Single]:
    """Where the outputs of `singles` are."""
    outputs = sorted(scratch.glob("*.tar"))
    if not outputs:
        raise Failed(f"nothing was compiled in {scratch} for {built}")
    return [Single(path.stem, [], path) for path in outputs]


if __name__ == "__main__":
    main()
