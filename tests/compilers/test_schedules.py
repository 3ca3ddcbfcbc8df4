"""Where TVM's usual schedule makes kernels that do not compile, plainer ones take their place, and it is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from compiled_models import TINY, Compiled, model

pytestmark = [pytest.mark.tvm, pytest.mark.usefixtures("warm")]

RECIPE = Path(__file__).with_name("open_length_recipe.py")
ANDROID = "aarch64-linux-android"


@pytest.mark.parametrize("device", [{"kind": "opencl"}, {"kind": "opencl", "device": "mali"}])
def test_an_open_length_compiles_for_android(tmp_path, device):
    compiled = Compiled(tmp_path, RECIPE, model("pool", "f32"))
    out = compiled.compile(ANDROID, **device)
    assert compiled.facts["note"] == "generic schedule for 1 kernel"
    assert compiled.facts["schedule"].startswith("generic")
    assert (out / "pool_f32_lib0.o").stat().st_size > 0
    assert "gives way to the next" in compiled.log.read_text()


def test_nothing_is_said_where_the_usual_schedule_does(tmp_path):
    compiled = Compiled(tmp_path, TINY, model("tiny", "f32"))
    compiled.compile(ANDROID, kind="opencl")
    assert compiled.facts["schedule"] == "TVM's default"
    assert "note" not in compiled.facts
