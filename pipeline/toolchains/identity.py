"""What of a toolchain's environment belongs in keys, found out without importing anything into it.

`tools.finder.Finder` calls `version` and `watched`. An environment that we make is known by its spec and by what
slipway.lock pins, which are parameters of its action already; so only the platform is asked for, and the answer is the
same before it is made and after. One that others made is known by the packages in it, a checkout by its files.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import SlipwayError
from pipeline.files import sha256_bytes
from pipeline.process import run, state_of

from .environment import Environment

Remember = Callable[[list[object], Callable[[], str]], str]
"""Answers a question from memory, or by asking; see `tools.finder.Finder`."""

_LIST = """
import json, platform, sys
from importlib import metadata
found = {}
for one in metadata.distributions():
    name = (one.metadata.get_all("Name") or [""])[0].lower().replace("_", "-")
    if name in PACKAGES or name.startswith(FAMILIES):
        found.setdefault(name, one.version)
python = platform.python_implementation() + " " + platform.python_version()
print(json.dumps(", ".join([python, *(f"{name} {version}" for name, version in sorted(found.items()))])))
"""
_PATH = "import json, sys; print(json.dumps([entry for entry in sys.path if entry]))"

SECONDS = 60


def version(
    environment: Environment, remember: Remember, packages: tuple[str, ...], families: tuple[str, ...]
) -> str | None:
    """What enters the key; None where there is no such environment.

    `remember` answers from a stat_cache. Distributions in `packages`, or whose names begin with one of `families`, can
    change what is compiled.
    """
    parts = [environment.platform]
    if environment.kind != "made":
        if not environment.python.is_file():
            return None
        program = f"PACKAGES, FAMILIES = {packages!r}, {families!r}\n{_LIST}"
        question: list[object] = [
            state_of(environment.python),
            *map(state_of, _packages(environment, remember)),
            program,
        ]
        parts.append(remember(question, lambda: _asked(environment, program)))
        parts += filter(None, [program_digest(_program(environment))])
    if environment.source is not None:
        files = list(_modules(environment))
        states = sha256_bytes(json.dumps([state_of(path) for path in files]).encode())
        digest = remember(["mlc-llm", states], lambda: _digest(environment, files))
        parts.append(f"mlc-llm {digest}{'' if environment.has_library else ' without its library'}")
    return "; ".join(parts)


def watched(environment: Environment, remember: Remember) -> list[Path]:
    """Files and directories of which one changes whenever `version` does."""
    paths: list[Path] = []
    if environment.kind != "made":
        paths += [environment.python, _program(environment), *_packages(environment, remember)]
    if environment.source is not None:
        files = list(_modules(environment))
        paths += [*files, *{path.parent for path in files}]
    return [path for path in dict.fromkeys(paths) if path.exists()]


def program_digest(path: Path) -> str:
    """What a program `mlc_llm` is, which need not belong to a package; empty where there is none.

    Its first line names an interpreter, by a path.
    """
    if not path.is_file():
        return ""
    _, _, text = path.read_bytes().partition(b"\n")
    return f"program mlc_llm {sha256_bytes(text)[:16]}"


def _program(environment: Environment) -> Path:
    return environment.python.with_name("mlc_llm")


def _packages(environment: Environment, remember: Remember) -> list[Path]:
    """The directories of its packages, in which every installation changes an entry."""
    if environment.kind == "current":
        found = sys.path
    else:
        settings = environment.python.parent.parent / "pyvenv.cfg"
        said = remember([state_of(environment.python), state_of(settings), _PATH], lambda: _asked(environment, _PATH))
        found = json.loads(said) if said else []
    return [path for path in map(Path, found) if path.name.endswith("-packages")]


def _asked(environment: Environment, program: str) -> str:
    """What the interpreter prints, as JSON; empty when it fails."""
    try:
        words = (environment.python, "-I", "-c", program)
        done = run(words, check=False, timeout=SECONDS, apart=True)
    except (SlipwayError, OSError):
        return ""
    try:
        said = json.loads(done.output) if done.status == 0 else ""
    except ValueError:
        return ""
    return said if isinstance(said, str) else json.dumps(said)


def _modules(environment: Environment) -> Iterator[Path]:
    for folder in environment.path:
        yield from sorted((folder / "mlc_llm").rglob("*.py"))


def _digest(environment: Environment, files: list[Path]) -> str:
    """One digest of all modules of the checkout, wherever it lies."""
    (base,) = environment.path
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(base).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
