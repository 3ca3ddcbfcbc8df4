"""Finds out which mlc_llm an environment has, and what it knows. Runs inside the toolchain's worker.

`pipeline.steps.toolchain` calls `describe` and `installed`, each in a child of its own: importing mlc_llm loads its
libraries, and may fail where a library is missing. Every answer goes into `probe.json`, and so into keys.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from pipeline.documents.probe import MlcProbe
from pipeline.errors import SlipwayError
from pipeline.files import sha256_bytes
from pipeline.process import run
from pipeline.toolchains.spec import read_marker

from .mlc_environment import allow_missing_library, find_program
from .reasons import reason

FAMILY = "mlc-llm"
"""Nightly packages carry their kind in their name: `mlc-llm-nightly-cpu`."""


def describe(*, on_path: bool) -> MlcProbe | None:
    """What there is of mlc_llm; None where there is nothing.

    Args:
        on_path: whether a program on PATH will do, as it does for the Python that runs doit.

    A program that is no package of this Python cannot be asked what it knows; its version is the digest of its file.
    """
    found = importlib.util.find_spec("mlc_llm")
    if found is not None and found.origin is not None:
        return _package(Path(found.origin).parent)
    kind = "program" if find_program("program") or not on_path else "path"
    program = find_program(kind)
    if program is None:
        return None
    digest = sha256_bytes(program.read_bytes())[:16]
    return MlcProbe(kind, digest, commit=None, architectures=None, quantizations=None, error=None)


def installed() -> list[str]:
    """What the environment consists of, as exact requirements: what we made it of, or else all that is in it."""
    made = read_marker(Path(sys.prefix))
    if made is not None:
        return list(made.frozen)
    found: dict[str, str] = {}
    for one in metadata.distributions():
        name = one.metadata["Name"]
        if name:
            found.setdefault(name.lower().replace("_", "-"), f"{name}=={one.version}")
    return [found[name] for name in sorted(found) if name not in {"pip", "setuptools", "wheel"}]


def _package(folder: Path) -> MlcProbe:
    version = _version()
    answer = MlcProbe("package", version, _commit(folder), architectures=None, quantizations=None, error=None)
    try:
        allow_missing_library()
        models = importlib.import_module("mlc_llm.model").MODELS
        quantizations = importlib.import_module("mlc_llm.quantization").QUANTIZATION
    except Exception as error:  # noqa: BLE001 - a TVM that does not fit, say: whatever it is, it is the answer
        traceback.print_exc()
        return replace(answer, error=reason(error))
    return replace(
        answer,
        version=version or str(sys.modules["mlc_llm"].__version__),
        architectures=tuple(sorted(models)),
        quantizations=tuple(sorted(quantizations)),
    )


def _version() -> str | None:
    """What the installed distribution says; None for a checkout, which says it itself when it is imported."""
    for one in metadata.distributions():
        name = (one.metadata["Name"] or "").lower().replace("_", "-")
        if name == FAMILY or name.startswith(f"{FAMILY}-"):
            return str(one.version)
    return None


def _commit(folder: Path) -> str | None:
    """The commit of a checkout, or the one in the version of a wheel (`…+g1234abc`)."""
    if (folder.parents[1] / ".git").exists():
        try:
            done = run(["git", "-C", folder, "rev-parse", "HEAD"], check=False, timeout=20, apart=True)
        except SlipwayError:
            return None
        said = done.output.strip()
        return said if done.status == 0 and re.fullmatch(r"[0-9a-f]{40}", said) else None
    named = re.search(r"\+g?([0-9a-f]{7,40})", _version() or "")
    return named[1] if named else None
