"""Models that TVM compiled, and linkers for them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from app_builders import MODELS, TRIPLES, Linker

from pipeline.apps.containers import open_container
from pipeline.apps.contents import read_contents
from pipeline.apps.expectations import Expected, models_named
from pipeline.apps.verdicts import Report, judge
from pipeline.binary.tar_members import read_tar

BOTH = ",".join(MODELS)
SCRIPT = Path(__file__).parents[1] / "binary" / "compile_tiny_models.py"


@pytest.fixture(scope="session")
def model_objects(tmp_path_factory) -> dict[str, dict[str, tuple[bytes, bytes]]]:
    """Triple -> prefix -> (functions, blob). In a process of its own: TVM stays out of the tests'."""
    pytest.importorskip("tvm_ffi")
    out = tmp_path_factory.mktemp("app-models")
    command = [sys.executable, str(SCRIPT), str(out), *TRIPLES.values()]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    made: dict[str, dict[str, tuple[bytes, bytes]]] = {}
    for triple in TRIPLES.values():
        for prefix in MODELS:
            members = {m.name: m.data for m in read_tar((out / triple / f"{prefix}.tar").read_bytes(), prefix)}
            made.setdefault(triple, {})[prefix] = members["lib0.o"], members[f"{prefix}devc.o"]
    return made


@pytest.fixture
def linker(model_objects, tmp_path) -> Callable[..., Linker]:
    """`linker("maccatalyst", "x86_64")`."""

    def make(platform: str = "ios", arch: str = "arm64") -> Linker:
        return Linker(platform, arch, model_objects[TRIPLES[platform, arch]], tmp_path / f"link-{platform}-{arch}")

    return make


@pytest.fixture(scope="session")
def good_program(model_objects, tmp_path_factory) -> bytes:
    """A program for iOS, linked as the kits say, with a runtime."""
    link = Linker("ios", "arm64", model_objects[TRIPLES["ios", "arm64"]], tmp_path_factory.mktemp("good"))
    symbols = [f"_{prefix}__tvm_ffi__library_bin" for prefix in MODELS]
    return link.link(runtime=link.runtime(), export=["_main", *symbols])


@pytest.fixture
def verify() -> Callable[..., Report]:
    """Read an app and judge it: `verify(path, "prefix,prefix")`, or with a list of expectations."""

    def run(path: Path, expected: str | list[Expected] = BOTH, *libraries: Path, **options: bool) -> Report:
        models = models_named(expected) if isinstance(expected, str) and expected else list(expected)
        return judge(read_contents(open_container(path, *libraries)), models, **options)

    return run


def config_text(*libraries: str) -> bytes:
    records = [{"model_id": f"Model-{n}", "model_lib": lib, "model_path": "m"} for n, lib in enumerate(libraries)]
    return json.dumps({"model_list": records}).encode()


@pytest.fixture
def config() -> Callable[..., bytes]:
    """The text of an mlc-app-config.json."""
    return config_text
