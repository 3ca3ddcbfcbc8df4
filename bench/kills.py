"""Kills builds at random moments, and looks whether the next `doit` puts everything right.

    python bench/kills.py --kills 100

A round starts a real build of small models, sends SIGKILL to doit's process group and to all its workers at a random
moment, and runs `doit` again. It is right when every output has the bytes of an undisturbed build, nothing that was in
the store when the kill came was built once more, and a third run has nothing to do. The moment is uniform over the time
a build takes in one half of the rounds, and over its actions in the other: a good part of the time goes by while the
compiler is loaded and nothing is written. Rounds differ in what was there before: nothing; nothing but the probe of the
compiler; a complete build after which the recipe or the weights changed; the same, with the change taken back after the
kill; a build that was killed before.

Ends with status 1 when a round was wrong. The seed is printed; with `--seed` the same moments and kinds are drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from project import frozen

from pipeline.store.store import Store

TINY = Path(__file__).resolve().parents[1] / "tests" / "builds" / "tiny"
DOIT = Path(sys.executable).parent / "doit"

IOS = {"preset": "iphone", "deployment_target": "14.0"}
BACKENDS = {
    "host": {"preset": "host"},
    "linux-arm64": {"preset": "linux-arm64"},
    "ios-arm64": IOS,
    "android-arm64": {"preset": "android"},
}
PRODUCTS = {
    "kit": {"kind": "xcframework", "backends": ["ios-arm64"]},
    "droid": {"kind": "android", "backends": ["android-arm64"]},
    "native": {"kind": "native", "backends": ["host", "linux-arm64"]},
}


def matrix(variants: Iterable[str], backends: Mapping[str, object], products: Mapping[str, object]) -> str:
    """A targets.yaml, in the JSON that is in YAML: variants of one small model, each for all backends."""
    tiny = {
        "factory": "recipe.py:build",
        "check": "recipe.py:check",
        "weights": {"path": "weights"},
        "variants": {name: {"dtype": "float32", "note": name} for name in variants},
    }
    cells = {"model": ["tiny"], "backend": [*backends]}
    return json.dumps(
        {"version": 1, "models": {"tiny": tiny}, "backends": backends, "matrix": cells, "products": products}, indent=1
    )


CHANGES = {
    "recipe": ("recipe.py", "nn.op.relu(self.linear(x))", "nn.op.relu(self.linear(x)) + x * 0"),
    "weights": ("weights/weight.txt", "0.25", "0.75"),
}
"""What may change -> (file, what is there, what comes in its place)."""

KINDS = (
    "first build", "recipe changed", "killed twice", "recipe changed and put back", "weights changed",
    "first build", "recipe changed and put back", "killed twice", "recipe changed", "from nothing",
)  # fmt: skip
"""What the rounds are, in turn."""

OUTPUTS = ("build/weights", "build/params", "build/compile", "build/archive", "build/toolchain", "build/verify", "dist")

BUILT = ": built in"
"""What doit says of each action that it built."""

Files = dict[str, bytes]


@dataclass(frozen=True)
class Round:
    """How a round ended. `wrong` says what was not as it should be; empty when all was."""

    kind: str
    moment: str
    kept: int
    built: int
    wrong: str


class Project:
    """A matrix of small models in a directory.

    Attributes:
        wrapper: words before `doit` on the command line.
        places: where outputs are.
    """

    wrapper: tuple[str, ...] = ()
    places: tuple[str, ...] = OUTPUTS

    def __init__(self, root: Path, env: dict[str, str] | None = None) -> None:
        self.root = root
        self._env = {**os.environ, "SLIPWAY_CACHE": str(root.parent / "cache"), **(env or {})}
        self.store = Path(self._env.get("SLIPWAY_STORE") or root / "build" / "store")

    def write(self) -> None:
        """Write what a user has written."""
        shutil.copytree(TINY, self.root, ignore=shutil.ignore_patterns("__pycache__"))
        (self.root / "targets.yaml").write_text(matrix("abc", BACKENDS, PRODUCTS))
        (self.root / "dodo.py").write_text("from pipeline.dodo import DOIT_CONFIG, task_slipway\n")

    def copy_of(self, other: Path) -> None:
        """Be what another directory is, times included."""
        shutil.rmtree(self.root, ignore_errors=True)
        subprocess.run(["cp", "-a", other, self.root], check=True)

    def change(self, what: str, *, back: bool = False) -> None:
        """Make one of `CHANGES`, or take it back."""
        name, old, new = CHANGES[what]
        path = self.root / name
        before = path.read_text()
        after = before.replace(new, old) if back else before.replace(old, new)
        assert after != before
        path.write_text(after)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start doit, the leader of a session of its own."""
        with (self.root.parent / "said").open("wb") as said:
            return subprocess.Popen(
                [*self.wrapper, DOIT, *words],
                cwd=self.root,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        """What the last doit has said so far."""
        return (self.root.parent / "said").read_text()

    def build(self, *words: str) -> tuple[float, str]:
        """Run doit to its end; how long it took, and what it said."""
        began = time.monotonic()
        status = self.start(*words).wait()
        said = self.said()
        if status != 0 or "Traceback" in said:
            raise WrongError(f"doit ended with status {status}:\n{said}")
        return time.monotonic() - began, said

    def outputs(self) -> Files:
        """Every output by its path, without the times that runs took."""
        folders = (self.root / name for name in self.places)
        files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): _timeless(path) for path in files}

    def kept(self) -> dict[str, float]:
        """Key -> when it was made, of all that the store can give back."""
        store = Store(self.store, read_only=True)
        try:
            return {r.key: r.started for r in store.records.all() if store.lookup(r.key) is not None}
        finally:
            store.close()


def _timeless(path: Path) -> bytes:
    """The content of an output; of a product's link.json without `runs`, and of a manifest without its digest."""
    data = path.read_bytes()
    if path.name not in {"link.json", "manifest.json"}:
        return data
    document = json.loads(data)
    document.pop("runs", None)
    if path.name == "manifest.json":
        document["files"] = [
            one for one in document["files"] if not one["path"].endswith(("link.json", "manifest.json"))
        ]
    return json.dumps(document).encode()


class WrongError(Exception):
    """A round ended in a way it should not."""


def main() -> int:
    """Run the rounds the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--json", type=Path, help="write the rounds to this file")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    began = time.monotonic()
    rounds = []
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        for number, one in enumerate(campaign(Path(folder), asked.kills, chance), 1):
            rounds.append(one)
            state = f"WRONG: {one.wrong}" if one.wrong else "right"
            print(
                f"{number:4}  {one.kind:28} killed after {one.moment:22} {one.kept:3} finished, "
                f"{one.built:3} built after it: {state}",
                flush=True,
            )
    wrong = [one for one in rounds if one.wrong]
    kinds = Counter(one.kind for one in rounds)
    print(f"{len(rounds) - len(wrong)} of {len(rounds)} right, in {time.monotonic() - began:.0f} s; seed {seed}")
    print("; ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items())))
    print(f"finished before the kill: {spread(rounds)}")
    if asked.json:
        asked.json.write_text(json.dumps([vars(one) for one in rounds], indent=1))
    return 1 if wrong else 0


def spread(rounds: list[Round]) -> str:
    """Smallest, median and largest number of actions that a kill found finished."""
    kept = sorted(one.kept for one in rounds)
    return f"{kept[0]} to {kept[-1]} actions (median {kept[len(kept) // 2]})"


def campaign(folder: Path, kills: int, chance: random.Random) -> Iterator[Round]:
    """Build without disturbance what each kind of round must come to, then kill."""
    project = Project(folder / "project", frozen(folder / "frozen"))
    project.write()
    nothing, clean, built = folder / "nothing", folder / "clean", folder / "built"
    shutil.copytree(project.root, nothing)
    _, said = project.build("toolchain:current")
    total = said.count(BUILT)
    shutil.copytree(project.root, clean, symlinks=True)
    seconds, said = project.build()
    total += said.count(BUILT)
    shutil.copytree(project.root, built, symlinks=True)
    right = {"first": project.outputs()}
    for what in CHANGES:
        project.copy_of(clean)
        project.change(what)
        again, _ = project.build()
        seconds = min(seconds, again)
        right[what] = project.outputs()
        assert right[what] != right["first"]
    print(f"{total} actions, {seconds:.1f} s undisturbed, {len(right['first'])} outputs", flush=True)
    done = 0
    while done < kills:
        kind = KINDS[done % len(KINDS)]
        what = kind.partition(" ")[0] if "changed" in kind else ""
        project.copy_of(built if what else nothing if kind == "from nothing" else clean)
        if what:
            project.change(what)
        moments = [a_moment(chance, total, seconds, by_time=done % 2 == 0) for _ in range(2 if "twice" in kind else 1)]
        if all(kill_after(project, moment) for moment in moments):  # else the build was faster than the kill
            done += 1
            yield put_right(project, kind, what, " and ".join(map(str, moments)), right)


@dataclass(frozen=True)
class Moment:
    """When to kill: so many seconds after so many actions were built."""

    seconds: float
    actions: int = 0

    def __str__(self) -> str:
        return f"{self.actions} actions + {self.seconds:.3f} s" if self.actions else f"{self.seconds:.2f} s"


def a_moment(chance: random.Random, actions: int, seconds: float, *, by_time: bool) -> Moment:
    if by_time:
        return Moment(chance.uniform(0, seconds))
    return Moment(chance.uniform(0, 0.1), chance.randrange(1, actions))


def put_right(project: Project, kind: str, what: str, moment: str, right: dict[str, Files]) -> Round:
    """What comes after the kill."""
    if kind.endswith("put back"):
        project.change(what, back=True)
        what = ""
    kept = project.kept()
    said, wrong = "", ""
    try:
        _, said = project.build()
        wrong = "\n".join(faults(project, right[what or "first"], kept))
    except WrongError as error:
        wrong = str(error)
    return Round(kind, moment, len(kept), said.count(BUILT), wrong)


def faults(project: Project, right: Files, kept: dict[str, float]) -> Iterator[str]:
    """What is not as it should be after the build that followed the kill."""
    now = project.outputs()
    for name in sorted(now.keys() | right.keys()):
        if now.get(name) != right.get(name):
            yield f"{name} is {'missing' if name not in now else 'too much' if name not in right else 'not the same'}"
    made = project.kept()
    redone = [key for key, started in kept.items() if made.get(key) != started]
    if redone:
        yield f"{len(redone)} actions were finished, and done again"
    for folder in ("build/scratch", "build/store/part"):
        left = [path for path in (project.root / folder).rglob("*") if path.is_file()]
        if left and folder.endswith("scratch"):
            yield f"{len(left)} files were left in {folder}"
    _, said = project.build()
    if "nothing to do" not in said:
        yield f"a further run had something to do:\n{said}"


def kill_after(project: Project, moment: Moment) -> bool:
    """Start a build and kill all of it at that moment; whether it was still running."""
    run = project.start()
    while project.said().count(BUILT) < moment.actions and run.poll() is None:
        time.sleep(0.002)
    try:
        run.wait(moment.seconds)
    except subprocess.TimeoutExpired:
        for pid in [run.pid, *descendants(run.pid)]:
            for kill in (os.killpg, os.kill):
                try:
                    kill(pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue
        run.wait()
        return True
    return False


def descendants(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have (Linux)."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue

    def below(parent: int) -> Iterator[int]:
        for child in [child for child, its_parent in parents.items() if its_parent == parent]:
            yield child
            yield from below(child)

    return list(below(pid))


if __name__ == "__main__":
    sys.exit(main())
