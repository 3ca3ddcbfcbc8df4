"""What a twin is held against before it runs, and what is said where this machine cannot run one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.action import Job, Tool
from pipeline.documents.run import Run
from pipeline.errors import StepError, ToolMissing, VerifyError
from pipeline.native import opencl
from pipeline.native.wheel import Packages
from pipeline.runners.check import run_line
from pipeline.runners.twin import _runtime, check_equal, extensions, of_objects

CODE = b"""// Function: add
__kernel void add(__global float* x) {
  x[0] = x[0] + 1.0f;
}
// Function: mul
kernel void mul(__global float* x) {
  x[0] = x[0] * 2.0f;
}
"""


def test_equal_device_code_passes():
    check_equal({"opencl": CODE}, {"opencl": bytes(CODE)})


@pytest.mark.parametrize(
    ("twin", "message"),
    [
        (
            {"opencl": CODE.replace(b"* 2.0f", b"* 3.0f")},
            r"in mul: '  x\[0\] = x\[0\] \* 2.0f;' ships, the twin has .*3",
        ),
        ({"opencl": CODE.replace(b"+ 1.0f", b"- 1.0f")}, "in add: "),
        ({"opencl": CODE[:-2]}, f"at byte {len(CODE) - 2} in mul: "),
        ({"opencl": CODE + b"\n"}, f"at byte {len(CODE)} in mul: "),
        ({"metal": CODE}, "the twin has device code of kind metal, and what ships has opencl"),
        ({}, "the twin has device code of kind none"),
    ],
)
def test_a_difference_names_the_kernel(twin, message):
    with pytest.raises(VerifyError, match=message):
        check_equal({"opencl": CODE}, twin)


def test_nothing_that_ships_is_no_proof():
    with pytest.raises(VerifyError, match="what ships has none"):
        check_equal({}, {})


def test_extensions_are_those_that_kernels_ask_for():
    asks = b"#ifdef cl_khr_fp16\n#pragma OPENCL EXTENSION cl_khr_fp16 : enable\n#elif defined(cl_amd_fp16)\n"
    assert extensions({"opencl": asks + CODE + asks}) == ("cl_khr_fp16",)
    assert extensions({"opencl": CODE}) == ()


def test_objects_without_the_model_are_refused(tmp_path):
    with pytest.raises(StepError, match="no object has the blob of tiny_f32_"):
        of_objects(tmp_path, "tiny_f32_")


def test_the_table_says_that_only_kernels_were_run():
    line = run_line([Run("m", "android", "twin", emulated="opencl, a processor")], "linked")
    assert line == "run: twin (kernels alone) (emulated); linked"


# What this machine lacks.


class Services:
    """A worker whose toolchain has nothing."""

    def worker(self, _toolchain):
        return self

    def call(self, _work, **_more):
        return Packages({}, {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("checkout:twins", "there is no checkout of TVM"),
        ("opencl", "there is no OpenCL driver, or no headers for it"),
        ("c++", r"there is no C\+\+ compiler"),
    ],
)
def test_what_is_missing_comes_with_the_cure(tmp_path, name, message):
    tools = {one: Tool(one, tmp_path, "1") for one in ("checkout:twins", "opencl", "c++") if one != name}
    job = Job(Params(), {}, tools, tmp_path, tmp_path / "log", Services(), tmp_path / "cache")
    with pytest.raises(ToolMissing, match=message) as caught:
        _runtime(job, "opencl")
    assert {"checkout:twins": "TVM_SOURCE_DIR", "opencl": "pocl-opencl-icd", "c++": "g++"}[name] in caught.value.hint


class Params:
    toolchain = "current"


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose OpenCL runtime is a few lines of C++."""
    folder = tmp_path / "tvm" / "src" / "backend" / "opencl" / "runtime"
    folder.mkdir(parents=True)
    (folder / "opencl_device_api.cc").write_text("int device_api() { return 1; }\n")
    (folder / "opencl_module.cc").write_text("#include <tvm/of/another/release.h>\n")
    return tmp_path / "tvm"


@pytest.fixture
def build(tmp_path):
    found = shutil.which("c++")
    if found is None:
        pytest.skip("there is no C++ compiler")

    def run(folder: Path) -> Path:
        return opencl.build(
            Tool("checkout:twins", folder, "1"), Tool("c++", Path(found), "12"),
            Packages({}, {"apache-tvm": "0.27.0.post1"}), [], home=tmp_path, log=tmp_path / "log",
        )  # fmt: skip

    return run


def test_a_checkout_of_another_release_is_refused_with_the_cure(checkout, build):
    with pytest.raises(
        ToolMissing, match="does not compile with the headers of the toolchain's package: tvm/of/"
    ) as it:
        build(checkout)
    assert it.value.hint == "let TVM_SOURCE_DIR name a checkout of TVM 0.27.0.post1"
    assert not list(checkout.parent.glob("*.so"))


def test_a_folder_that_is_no_checkout_is_refused(tmp_path, build):
    with pytest.raises(
        ToolMissing, match=r"the checkout of TVM has no src/backend/opencl/runtime/opencl_device_api\.cc"
    ):
        build(tmp_path)
