"""Kills builds and cuts their files while two trees share a store, each in a PID namespace of its own (Linux, root).

    python bench/containers.py --kills 1000 --cuts 300

Two containers that share a store are this: the same process IDs in both, and no way to ask whether the other's process
lives. In a round both trees build, of the same sources or of different ones. At random moments one of them is killed
(SIGKILL to the first process of its namespace, which takes all others along) and started again while the other goes on;
or a file that Slipway keeps is cut short, zeroed, flipped in one bit or deleted: state of a tree, an output, a result
or a blob of the store, a lock. Then both run again, at once.

A round is right when every output of both trees has the bytes of an undisturbed build, no run showed a traceback,
nothing that was in the store when no one was running was built once more, a further run has nothing to do, and
temporary files of killed processes are gone one round later. A run whose files were cut under it may fail; the next
one may not.

Rounds come in seasons, which begin with an empty store. Some compile small models, and as that takes seconds most build
a generated graph of cheap steps, whose outputs are small and large enough to be kept in each way that there is. Every
second season has its store on another file system than its trees. Ends with status 1 when a round was wrong. The seed
is printed; with `--seed` the same moments and kinds are drawn.
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
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import kills
from kills import BUILT, WrongError, descendants
from project import frozen

from pipeline.files import TEMPORARY, hash_path

NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
HERE = Path(__file__).resolve().parent
MEMORY = Path("/dev/shm")  # noqa: S108 - another file system

SIZES = 40, 5_000, 100_000, 1_100_000
"""Bytes of the generated graph's sources: in results, in blobs that are always hashed, copied, linked into the tree."""
BACKENDS = 4
EDITIONS = 4
"""What the sources of a tree may be."""
ROUNDS = 6
"""Of a season."""

MATRIX = kills.matrix(
    "a",
    {"host": {"preset": "host"}, "ios-arm64": kills.IOS},
    {"kit": {"kind": "xcframework", "backends": ["ios-arm64"]}},
)


class Tree(kills.Project, ABC):
    """A tree of a pair. `run` is its doit, if one was started; `was_cut` whether a file was cut while that went on."""

    wrapper = NAMESPACE
    run: subprocess.Popen[bytes] | None = None
    was_cut = False
    edition = 0

    def become(self, edition: int) -> None:
        """Have the sources of an edition."""
        self.edition = edition
        for name, text in self.sources(edition).items():
            path = self.root / name
            if not path.exists() or path.read_text() != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

    @abstractmethod
    def sources(self, edition: int) -> dict[str, str]:
        """Path -> content, of each file of an edition."""

    def begin(self) -> None:
        self.was_cut = False
        self.run = self.start()

    @property
    def is_running(self) -> bool:
        return self.run is not None and self.run.poll() is None

    def kill(self) -> bool:
        """Kill all of the namespace; whether there was anything to kill."""
        if self.run is None or self.run.poll() is not None:
            return False
        inner = descendants(self.run.pid)[:1]  # the namespace's first process; nobody has one for a millisecond or so
        try:
            os.kill(inner[0] if inner else self.run.pid, signal.SIGKILL)
        except ProcessLookupError:  # it ended just now
            return False
        self.run.wait()
        self.run = None
        return True

    def finish(self) -> str:
        """Wait for the run that is on; what it said.

        Raises:
            WrongError: it failed, though nothing was cut under it, or showed a traceback.
        """
        if self.run is None:
            return ""
        status, said = self.run.wait(), self.said()
        self.run = None
        if "Traceback" in said or (status != 0 and not self.was_cut):
            raise WrongError(f"doit ended with status {status}:\n{said}")
        return said

    def digests(self) -> dict[str, str]:
        """SHA-256 of every output by its path."""
        files = (path for name in self.places for path in (self.root / name).rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): hash_path(path) for path in files}

    def files(self) -> set[str]:
        """All that lies in the tree but its store; logs, and who holds the lock, come and go."""
        found = (str(path.relative_to(self.root)) for path in self.root.rglob("*") if not path.is_dir())
        kept = ("build/store/", "build/log/")
        return {
            name
            for name in found
            if not name.startswith(kept) and not name.endswith(("-wal", "-shm", ".pyc", ".owner"))
        }


class Models(Tree):
    """Small models, compiled, proven and shipped."""

    title = "models"

    def write(self) -> None:
        super().write()
        (self.root / "targets.yaml").write_text(MATRIX)

    def sources(self, edition: int) -> dict[str, str]:
        found = {}
        for bit, (name, old, new) in enumerate(kills.CHANGES.values()):
            text = (kills.TINY / name).read_text()
            found[name] = text.replace(old, new) if edition >> bit & 1 else text
        return found


class Steps(Tree):
    """The generated graph of `scale.py`."""

    title = "steps"
    places = ("build/out",)

    def write(self) -> None:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(HERE / "scale_steps", self.root / "scale_steps", ignore=ignored)
        shutil.copyfile(HERE / "scale_dodo.py", self.root / "dodo.py")
        (self.root / "targets.yaml").write_text(json.dumps({"models": len(SIZES), "backends": BACKENDS}))

    def sources(self, edition: int) -> dict[str, str]:
        return {f"src/m{m}.txt": f"{edition}{m}" * (size // 2) + "\n" for m, size in enumerate(SIZES)}


@dataclass(frozen=True)
class Right:
    """What an undisturbed build comes to, by edition; and how long one takes, and all files that lie in such trees."""

    digests: list[dict[str, str]]
    seconds: float
    actions: int
    files: set[str]


@dataclass
class Round:
    """What was done in a round, and what was not as it should be after it."""

    title: str
    kills: int = 0
    cuts: list[str] = field(default_factory=list)
    failed: int = 0
    left: int = 0
    wrong: list[str] = field(default_factory=list)


def undisturbed(kind: type[Tree], folder: Path, env: dict[str, str]) -> Right:
    digests, seconds, actions, files = [], [], 0, set()
    for edition in range(EDITIONS):
        tree = kind(folder / f"{kind.title}-{edition}" / "tree", env)
        tree.write()
        tree.become(edition)
        spent, said = tree.build()
        seconds.append(spent)
        actions = said.count(BUILT)
        tree.build()  # with which there is a stamp
        digests.append(tree.digests())
        files |= tree.files()
    assert len({json.dumps(one, sort_keys=True) for one in digests}) == EDITIONS
    return Right(digests, min(seconds), actions, files)


class Season:
    """Two trees and a store, empty at first.

    Args:
        kind: of the trees.
        folder: for all but the store.
        shared: changes to the environment of both; `SLIPWAY_STORE` is where the store is to be.
        right: what builds must come to.
        chance: draws moments and kinds.
    """

    def __init__(
        self, kind: type[Tree], folder: Path, shared: dict[str, str], right: Right, chance: random.Random
    ) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.trees = [kind(folder / name / "tree", {**shared, "TMPDIR": str(self.temporary)}) for name in "ab"]
        for tree in self.trees:
            tree.write()
        self.store = Path(shared["SLIPWAY_STORE"])
        self.right = right
        self.chance = chance
        self.left: set[str] = set()
        """Temporary files that the last round has left."""

    def round(self, kills_left: int, cuts_left: int) -> Round:
        """Disturb a build of both trees, and look at what becomes of it."""
        done = Round(self.trees[0].title)
        kept: dict[str, float] = {}
        cut_share = 0.0 if self.chance.random() < 0.5 else 2 * cuts_left / max(1, kills_left + cuts_left)
        same = self.chance.randrange(EDITIONS) if self.chance.random() < 0.5 else None
        for tree in self.trees:
            tree.become(self.chance.randrange(EDITIONS) if same is None else same)
        try:
            for _ in range(self.chance.randint(2, 6)):
                for tree in self.trees:
                    if tree.run is None or not tree.is_running:
                        tree.finish()
                        tree.begin()
                self.wait_a_while()
                if self.chance.random() < cut_share:
                    self.cut(done, kept)
                else:
                    self.kill(done, kept)
            for tree in self.trees:
                done.failed += tree.run is not None and tree.run.wait() != 0
                tree.finish()
            done.wrong += self.put_right(kept)
        except WrongError as error:
            done.wrong.append(str(error))
        finally:
            for tree in self.trees:
                tree.kill()
        done.wrong += self.litter(done)
        return done

    def wait_a_while(self) -> None:
        """Let time pass: uniform over the time of a build, or until one of the trees has done some of its actions."""
        if self.chance.random() < 0.5:
            time.sleep(self.chance.uniform(0, self.right.seconds))
            return
        tree, actions = self.chance.choice(self.trees), self.chance.randrange(self.right.actions)
        while tree.is_running and tree.said().count(" in ") < actions:
            time.sleep(0.002)
        time.sleep(self.chance.uniform(0, 0.05))

    def kill(self, done: Round, kept: dict[str, float]) -> None:
        """Kill one tree's build, or both's."""
        for tree in self.chance.sample(self.trees, self.chance.choice((1, 1, 2))):
            done.kills += tree.kill()
        if not any(tree.is_running for tree in self.trees):
            kept |= self.trees[0].kept()  # for certain: nobody is about to build what is there

    def cut(self, done: Round, kept: dict[str, float]) -> None:
        """Damage a file that is there now, whoever uses it."""
        kept.clear()
        tree = self.chance.choice(self.trees)
        path = self.victim(tree)
        how = path and damage(path, self.chance)
        if path is None or how is None:
            return
        place = path.relative_to(tree.root if path.is_relative_to(tree.root) else self.store)
        done.cuts.append(f"{how} {place}")
        for one in self.trees:
            one.was_cut = True  # the store is of both, and so are outputs that are hard links to its blobs

    def victim(self, tree: Tree) -> Path | None:
        """A file: as likely one of state as a blob or an output, of which there are many more."""
        kind = self.chance.choice(("blob", "result", "store", "state", "state", "output"))
        of_store = {"blob": "v2/cas", "result": "v2/ac"}
        if kind in of_store:
            found = list((self.store / of_store[kind]).rglob("*"))
        elif kind == "store":
            found = [*(self.store / "v2").glob("*"), *(self.store / "v2" / "part").glob("*")]
        elif kind == "output":
            found = [path for name in tree.places for path in (tree.root / name).rglob("*")]
        else:
            found = [*(tree.root / "build").glob("*"), *(tree.root / "build").glob("[ms][at]*/*")]
        files = sorted(path for path in found if path.is_file() and not path.is_symlink())
        return self.chance.choice(files) if files else None

    def put_right(self, kept: dict[str, float]) -> Iterator[str]:
        """What both trees come to when they run undisturbed, at once; and then once more."""
        kept = {**kept, **self.trees[0].kept()}
        for tree in self.trees:
            tree.begin()
        for tree in self.trees:
            tree.finish()
        made = self.trees[0].kept()
        if redone := [key for key, started in kept.items() if made.get(key) != started]:
            yield f"{len(redone)} actions were finished, and done again"
        for tree in self.trees:
            now, right = tree.digests(), self.right.digests[tree.edition]
            for name in sorted(now.keys() | right.keys()):
                if now.get(name) != right.get(name):
                    yield f"{name} is {'missing' if name not in now else 'too much' if name not in right else 'wrong'}"
            _, said = tree.build()
            if "nothing to do" not in said:
                yield f"a further run had something to do:\n{said}"

    def litter(self, done: Round) -> Iterator[str]:
        """What has been lying about since the round before."""
        store = {str(path) for path in self.store.rglob("*") if path.is_file()}
        now = {path for path in store if path.endswith(TEMPORARY) or "/part/" in path}
        for tree in self.trees:
            now |= {f"{tree.root}/{name}" for name in tree.files() - self.right.files}
        now |= {str(path) for path in self.temporary.iterdir()}
        done.left = len(now)
        if stay := now & self.left:
            yield f"{len(stay)} files are left since the round before, such as {min(stay)}"
        self.left = now


def damage(path: Path, chance: random.Random) -> str | None:
    """Cut a file short, zero it, flip a bit of it, in place; or delete it. None where that cannot be."""
    how = chance.choice(("cut", "zeroed", "flipped", "deleted"))
    try:
        if how == "deleted":
            path.unlink()
            return how
        size = path.stat().st_size
        at = chance.randrange(size) if size else 0
        with path.open("r+b") as file:
            file.seek(at if how == "flipped" else 0)
            if how == "flipped":
                byte = file.read(1) or b"\0"
                file.seek(at)
                file.write(bytes([byte[0] ^ 1 << chance.randrange(8)]))
            elif how == "zeroed":
                file.write(bytes(size))
            else:
                file.truncate(at)
    except OSError:  # it is gone by now
        return None
    return how


def campaign(folder: Path, asked: argparse.Namespace, chance: random.Random) -> Iterator[Round]:
    env = frozen(folder / "frozen")
    kinds = (Steps, Models) if asked.models else (Steps,)
    right = {kind: undisturbed(kind, folder / "right", env) for kind in kinds}
    for kind, found in right.items():
        outputs = len(found.digests[0])
        print(
            f"{kind.title}: {found.actions} actions, {found.seconds:.1f} s undisturbed, {outputs} outputs", flush=True
        )
    left = {"kills": asked.kills, "cuts": asked.cuts}
    models = {name: round(number * asked.models) for name, number in left.items()}
    elsewhere = tempfile.mkdtemp(prefix="containers-", dir=asked.elsewhere) if asked.elsewhere.is_dir() else None
    number = 0
    try:
        while max(left.values()) > 0:
            kind = Models if max(models.values()) > 0 and number % 2 else Steps
            place = folder / f"season-{number}"
            store = Path(elsewhere, "store") if elsewhere and number // 2 % 2 else place / "store"
            season = Season(kind, place, {**env, "SLIPWAY_STORE": str(store)}, right[kind], chance)
            for _ in range(ROUNDS):
                counted = models if kind is Models else left
                if max(counted.values()) <= 0:
                    break
                one = season.round(max(0, counted["kills"]), max(0, counted["cuts"]))
                for budget in {id(left): left, id(counted): counted}.values():
                    budget["kills"] -= one.kills
                    budget["cuts"] -= len(one.cuts)
                yield one
            shutil.rmtree(place)
            shutil.rmtree(store, ignore_errors=True)
            number += 1
    finally:
        if elsewhere:
            shutil.rmtree(elsewhere, ignore_errors=True)


def main() -> int:
    """Run the rounds the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--cuts", type=int, default=30)
    parser.add_argument("--models", type=float, default=0.05, help="share of them in seasons that compile models")
    parser.add_argument("--elsewhere", type=Path, default=MEMORY, help="where every second season has its store")
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    if subprocess.run([*NAMESPACE, "true"], check=False).returncode != 0:
        print("no PID namespace can be made here: that takes Linux, and root")
        return 77
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    began, rounds = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="containers-") as folder:
        for number, one in enumerate(campaign(Path(folder), asked, random.Random(seed)), 1):
            rounds.append(one)
            state = "WRONG: " + "\n".join(one.wrong) if one.wrong else "right"
            cuts = f", {'; '.join(one.cuts)}" if one.cuts else ""
            print(f"{number:4}  {one.title:6}  {one.kills} kills{cuts}: {state}", flush=True)
    wrong = sum(bool(one.wrong) for one in rounds)
    print(f"{len(rounds) - wrong} of {len(rounds)} rounds right, in {time.monotonic() - began:.0f} s; seed {seed}")
    for title in ("steps", "models"):
        of_kind = [one for one in rounds if one.title == title]
        print(
            f"{title}: {sum(one.kills for one in of_kind)} kills, {sum(len(one.cuts) for one in of_kind)} cuts, "
            f"{sum(one.failed for one in of_kind)} runs failed whose files were cut, and were right when run again"
        )
    print("files left by killed processes at the end of a round: at most", max((one.left for one in rounds), default=0))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
