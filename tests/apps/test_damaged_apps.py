"""Mutations of real files: verify-app, merge-app-config and import answer each, or refuse it with an error of ours."""

from __future__ import annotations

import json
import plistlib
import time
from pathlib import Path

import pytest
from app_builders import MODELS, app, write_ipa, write_pkg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import MUTATIONS

from pipeline.apps.containers import open_container
from pipeline.apps.contents import read_contents
from pipeline.apps.expectations import models_named
from pipeline.apps.merge_records import merge
from pipeline.apps.verdicts import judge
from pipeline.commands.import_config import _check
from pipeline.commands.merge_app_config import read_text
from pipeline.errors import SlipwayError
from pipeline.importers.mlc_package import merge as merge_configs
from pipeline.importers.mlc_package import read
from pipeline.importers.package_yaml import Systems, render
from pipeline.reports import app_report as report

pytestmark = pytest.mark.slow

SECONDS = 10
"""Beyond this a mutation counts as a hang."""

many = settings(max_examples=MUTATIONS, suppress_health_check=list(HealthCheck), database=None)

PIECES = st.sampled_from(
    [b"", b"\0", b"\xff" * 8, b"[" * 2000, b'{"a":' * 500, b"9" * 5000, b'"\\ud800"', b"null", b"-1", b"1e999", b"NaN",
     b"//", b",", b"\xef\xbb\xbf", b"true", b'"x"', b"<array>" * 500, b"\x7fELF", b"PK\x03\x04", b"../" * 20]
) | st.binary(max_size=12)  # fmt: skip
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), PIECES), min_size=1, max_size=4)


def mutated(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """Bytes with pieces of them taken out and others put in."""
    for place, length, piece in changes:
        at = int(place * len(data))
        data = data[:at] + piece + data[at + length :]
    return data


def ends_well(work) -> None:
    """Whether a call returns soon, or raises an error of ours that can be printed."""
    began = time.monotonic()
    try:
        work()
    except SlipwayError as error:
        str(error).encode()
    assert time.monotonic() - began < SECONDS


CONFIG = json.dumps(
    {"model_list": [{"model_id": "a", "model_lib": "tiny_model_a", "model_path": "a", "estimated_vram_bytes": 1}]}
).encode()
XCFRAMEWORK = plistlib.dumps(
    {"AvailableLibraries": [{"LibraryIdentifier": "ios-arm64", "SupportedPlatform": "ios", "LibraryPath": "m.a"}]}
)


@pytest.fixture(scope="module")
def files(good_program) -> dict[str, bytes]:
    """An app's files."""
    more = {"mlc-app-config.json": CONFIG, "Frameworks/X.framework/Info.plist": XCFRAMEWORK}
    more["Frameworks/B.framework/Info.plist"] = plistlib.dumps({"DTPlatformName": "iphoneos"}, fmt=plistlib.FMT_BINARY)
    return app(good_program, more=more)


def verify(path: Path) -> None:
    found = judge(read_contents(open_container(path), ["lib/x/*"]), models_named(",".join(MODELS)))
    report.text(found).encode()
    json.dumps(report.document(found))


@pytest.mark.tvm
@many
@given(which=st.integers(0, 4), changes=CHANGES, packed=st.sampled_from(["none", "ipa", "pkg"]))
def test_verify_app(files, tmp_path_factory, which, changes, packed):
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    mine = dict(files)
    if packed == "none":
        name = sorted(mine)[which % len(mine)]
        mine[name] = mutated(mine[name], changes)
    path = write_pkg(folder / "C.pkg", mine) if packed == "pkg" else write_ipa(folder / "C.ipa", mine)
    if packed != "none":
        path.write_bytes(mutated(path.read_bytes(), changes))
    ends_well(lambda: verify(path))


@many
@given(changes=CHANGES, web=st.booleans())
def test_merge_app_config(tmp_path_factory, changes, web):
    path = tmp_path_factory.getbasetemp() / "app.json"
    record = json.loads(CONFIG)["model_list"][0]
    theirs = json.dumps({"version": 2, "model_list": [record, {**record, "model_id": "b"}], "x": 1.5}, indent=2)
    ours = (
        {**record, "model_lib": "new"} if not web else {"model_id": "a", "model": "https://x/a", "model_lib": "a.wasm"}
    )

    def work() -> None:
        path.write_bytes(mutated(theirs.encode(), changes))
        json.loads(merge(read_text(path)[1], [ours], "app.json").text)

    ends_well(work)


PACKAGE = json.dumps(
    {
        "device": "iphone",
        "model_list": [
            {
                "model": "HF://mlc-ai/Qwen3-0.6B-q4f16_1-MLC",
                "model_id": "Qwen3-0.6B-q4f16_1-MLC",
                "estimated_vram_bytes": 1400000000,
                "bundle_weight": True,
                "model_lib": "qwen3_q4f16_1",
                "overrides": {"context_window_size": 4096, "prefill_chunk_size": 128, "opt": "O2"},
            }
        ],
        "model_lib_path_for_prepare_libs": {"other_library": "lib/x.tar"},
    },
    indent=1,
).encode()


@many
@given(changes=CHANGES)
def test_import(tmp_path_factory, changes):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "fuzzed.json"
    path.write_bytes(mutated(PACKAGE, changes))
    ends_well(lambda: _check(render(merge_configs(read(path, folder)), ["c.json"], Systems()), folder))
