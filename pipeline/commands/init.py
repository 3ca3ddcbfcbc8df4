"""`doit init`: a project to start from, in an empty directory or an existing one. Needs no dodo.py: it writes it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from pipeline.errors import SlipwayError
from pipeline.store.os_errors import store_error, told

from .base import PlainCommand, flag

STARTER = Path(__file__).resolve().parent.parent / "starter"
SCHEMA_SOURCE = Path(__file__).resolve().parent.parent / "matrix" / "targets.schema.json"

SCHEMA = ".slipway/targets.schema.json"
"""Where the schema goes that the first line of targets.yaml names.

A copy in the project: an editor finds it without this package, without a network and on every machine that checks the
project out, which neither a path into an installation nor a web address would give.
"""

IGNORED = ".gitignore"

NEXT = """
next:{cd}
  doit          build and prove everything in targets.yaml; a second time, nothing is left to do
  doit list     what there is to build
  doit plan     what would run, and why
then make targets.yaml and recipes/ your own. Commit everything but build/ and dist/."""

NO_COMPILER = """
TVM, the compiler, is not installed in this Python yet: pip install 'slipway-tvm[tvm]'"""


@dataclass(frozen=True)
class InitOptions:
    """See `doit help init`."""

    force: bool = flag("replace files that are there already; each is kept as FILE.bak")
    schema: bool = flag(f"write {SCHEMA} only")


class Init(PlainCommand[InitOptions]):
    """start a project: targets.yaml, dodo.py and a small model (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "init"
    doc_usage = "[DIR]"
    doc_description = (
        "Writes into DIR, or here. A file that is there already and different is never touched without --force, and "
        "kept as FILE.bak with it; the lines for build/ and dist/ are added to a .gitignore. After an upgrade, "
        "--schema renews what editors complete from. Exit status: 0; 3 when files are in the way or cannot be written."
    )

    def answer(self, options: InitOptions, args: Sequence[str]) -> int:
        """Write the files."""
        if len(args) > 1:
            raise SlipwayError(f"init takes one directory, not {len(args)}", hint="doit init [DIR]")
        root = Path(args[0] if args else ".")
        files = {SCHEMA: SCHEMA_SOURCE.read_bytes()} if options.schema else starter_files()
        changed = {path: data for path, data in files.items() if _read(root / path) != data}
        in_the_way = [path for path in changed if (root / path).exists()]
        if in_the_way and not (options.force or options.schema):
            raise SlipwayError(
                f"there already: {', '.join(in_the_way)}; nothing was written",
                where=root,
                hint="name another directory (doit init DIR), or replace them with --force (yours is kept as FILE.bak)",
            )
        for path, data in changed.items():
            kept = _keep(root / path) if path in in_the_way and path != SCHEMA else None
            _write(root / path, data)
            self.say(f"{'overwritten' if path in in_the_way else 'written'}: {root / path}")
            if kept is not None:
                self.say(f"  yours is now {kept}")
        if options.schema:
            return 0
        if _ignore(root / IGNORED):
            self.say(f"written: {root / IGNORED}")
        elif not changed:
            self.say("nothing to write: all of it is there already")
        self.say(NEXT.format(cd=f"\n  cd {root}" if args else ""))
        if importlib.util.find_spec("tvm") is None:
            self.say(NO_COMPILER)
        return 0


def starter_files() -> dict[str, bytes]:
    """Relative path -> content of what a new project gets, .gitignore apart."""
    found = {
        path.relative_to(STARTER).as_posix(): path.read_bytes()
        for path in sorted(STARTER.rglob("*"))
        if path.is_file() and path.name != "gitignore" and path.suffix != ".pyc"
    }
    return found | {SCHEMA: SCHEMA_SOURCE.read_bytes()}


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise store_error(error, "read", path) from error


def _keep(path: Path) -> Path:
    """Give a file another name, one that nothing has."""
    names = (path.with_name(f"{path.name}.bak{number or ''}") for number in count())
    kept = next(name for name in names if not os.path.lexists(name))
    with told("rename", path):
        path.rename(kept)
    return kept


def _write(path: Path, data: bytes) -> None:
    with told("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _ignore(path: Path) -> bool:
    """Add the lines that are missing to a .gitignore; whether any was."""
    before = (_read(path) or b"").decode(errors="surrogateescape")
    wanted = (STARTER / "gitignore").read_text(encoding="utf-8").splitlines()
    missing = [line for line in wanted if line not in before.splitlines()]
    if missing:
        glue = "" if not before or before.endswith("\n") else "\n"
        text = f"{before}{glue}" + "".join(f"{line}\n" for line in missing)
        _write(path, text.encode(errors="surrogateescape"))
    return bool(missing)
