"""Presets and what a backend may change of them."""

from __future__ import annotations

import re

import pytest

from pipeline.documents.codec import encode
from pipeline.errors import MatrixError
from pipeline.matrix.backends import resolve
from pipeline.matrix.cells import Backend
from pipeline.matrix.diagnostics import Diagnostics
from pipeline.matrix.document import Document
from pipeline.matrix.presets import Preset, presets, this_machine
from pipeline.matrix.schema import Backend as Spec

LINUX = "Linux x86_64"
ASKED_FOR = {
    "host",
    "linux-arm64",
    "iphone",
    "iphone-simulator",
    "macabi",
    "macos",
    "android",
    "android:adreno",
    "mali",
    "webgpu",
    "wasm",
    "vulkan",
}
CHOICES = [
    (name, arch)
    for name, preset in presets().items()
    for arch in (preset.triples if isinstance(preset, Preset) else [None])
]


def backend(machine: str = LINUX, **keys: object) -> Backend:
    report = Diagnostics(Document("", "t"))
    found = resolve("b", Spec.model_validate(keys), report, machine)
    report.raise_if_any()
    assert found is not None
    return found


def refusal(machine: str = LINUX, **keys: object) -> str:
    with pytest.raises(MatrixError) as caught:
        backend(machine, **keys)
    return str(caught.value)


def test_the_presets_that_were_promised_are_there():
    assert set(presets()) >= ASKED_FOR


@pytest.mark.parametrize(("preset", "arch"), CHOICES)
def test_every_preset_stands_alone(preset, arch):
    made = backend(preset=preset, **({"arch": arch} if arch else {}))
    apple = made.platform not in {"linux", "android", "windows", "wasm"}
    assert made.preset == preset
    assert made.arch == (arch or "x86_64")
    assert "{" not in made.triple
    assert made.format == ("macho" if apple else {"wasm": "wasm", "windows": "coff"}.get(made.platform, "elf"))
    assert (made.deployment_target is not None) == apple
    assert set(encode(made)) == {
        "name",
        "device",
        "triple",
        "arch",
        "platform",
        "deployment_target",
        "format",
        "system_libraries",
        "frameworks",
        *(["kernels"] if made.device["kind"] == "metal" else []),
    }
    if apple:
        assert re.search(rf"-apple-(ios|macosx|tvos|watchos|xros){re.escape(made.deployment_target)}(-|$)", made.triple)


@pytest.mark.parametrize(
    ("keys", "triple"),
    [
        ({"preset": "iphone"}, "arm64-apple-ios14.0"),
        ({"preset": "iphone", "deployment_target": "16.4"}, "arm64-apple-ios16.4"),
        ({"preset": "iphone-simulator", "arch": "x86_64"}, "x86_64-apple-ios14.0-simulator"),
        ({"preset": "macabi"}, "arm64-apple-ios18.0-macabi"),
        ({"preset": "macabi", "arch": "x86_64", "deployment_target": "17.0"}, "x86_64-apple-ios17.0-macabi"),
        ({"preset": "macos", "arch": "x86_64", "deployment_target": "10.15"}, "x86_64-apple-macosx10.15"),
        ({"preset": "macos", "deployment_target": "13.3.1"}, "arm64-apple-macosx13.3.1"),
        ({"preset": "android"}, "aarch64-linux-android"),
        ({"preset": "android", "triple": "aarch64-linux-android24"}, "aarch64-linux-android24"),
    ],
)
def test_triples_carry_what_was_asked(keys, triple):
    assert backend(**keys).triple == triple


def test_a_triple_of_ones_own_sets_the_deployment_target():
    assert backend(preset="iphone", triple="arm64e-apple-ios17.2").deployment_target == "17.2"
    made = backend(preset="iphone", triple="arm64e-apple-ios{deployment_target}", deployment_target="15.0")
    assert (made.triple, made.deployment_target) == ("arm64e-apple-ios15.0", "15.0")


@pytest.mark.parametrize(
    ("machine", "triple", "arch", "form"),
    [
        ("Linux x86_64", "x86_64-linux-gnu", "x86_64", "elf"),
        ("Linux aarch64", "aarch64-linux-gnu", "arm64", "elf"),
        ("Darwin arm64", "arm64-apple-macosx11.0", "arm64", "macho"),
        ("Darwin x86_64", "x86_64-apple-macosx11.0", "x86_64", "macho"),
    ],
)
def test_host_is_the_machine_it_runs_on(machine, triple, arch, form):
    made = backend(machine, preset="host")
    assert (made.preset, made.triple, made.arch, made.format) == ("host", triple, arch, form)
    assert made.device == {"kind": "llvm"}


def test_a_device_is_changed_key_by_key_and_replaced_by_another_kind():
    assert backend(preset="android:adreno", device={"max_num_threads": 512}).device == {
        "kind": "opencl",
        "device": "adreno",
        "max_num_threads": 512,
    }
    assert backend(preset="android:adreno", device={"kind": "llvm"}).device == {"kind": "llvm"}


def test_libraries_and_frameworks_can_be_replaced():
    made = backend(preset="iphone", frameworks=["Metal", "Accelerate"], system_libraries=["z"])
    assert (made.frameworks, made.system_libraries) == (("Metal", "Accelerate"), ("z",))
    assert backend(preset="linux-arm64", system_libraries=[]).system_libraries == ()


def test_a_backend_no_preset_knows():
    made = backend(
        device={"kind": "llvm", "mcpu": "cortex-a76"}, triple="aarch64-linux-musl", platform="linux", arch="arm64"
    )
    assert (made.preset, made.format, made.device["mcpu"]) == (None, "elf", "cortex-a76")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"preset": "iphon"}, "backends.b.preset: unknown preset `iphon`\n  hint: did you mean `iphone`?"),
        ({"preset": "iphone", "arch": "x86_64"}, "preset iphone has no x86_64\n  hint: known architectures: arm64"),
        ({"preset": "host", "arch": "arm64"}, "preset host has no arm64"),
        ({"preset": "webgpu", "deployment_target": "1.0"}, "platform wasm has no deployment target\n  hint: remove"),
        ({"preset": "iphone", "platform": "macos"}, "preset iphone has its platform"),
        (
            {"preset": "iphone", "triple": "arm64-apple-ios"},
            "`arm64-apple-ios` does not carry a deployment target of ios",
        ),
        ({"preset": "iphone", "triple": "arm64-apple-ios14.0-macabi"}, "does not carry a deployment target of ios"),
        ({"preset": "macos", "triple": "arm64-apple-darwin"}, "write it like arm64-apple-macosx11.0"),
        ({"preset": "iphone", "triple": "x86_64-apple-ios14.0"}, "`x86_64-apple-ios14.0` is not a triple of arm64"),
        (
            {"preset": "iphone", "triple": "arm64-apple-ios14.0", "deployment_target": "15.0"},
            "the triple carries 14.0, and this says 15.0",
        ),
        (
            {"preset": "macos", "deployment_target": "10.15"},
            "b.deployment_target: macos on arm64 begins with 11.0, not",
        ),
        (
            {"preset": "iphone", "deployment_target": "6.1"},
            "b.deployment_target: ios on arm64 begins with 7.0, not 6.1",
        ),
        (
            {"preset": "macabi", "triple": "arm64-apple-ios13.1-macabi"},
            "b.triple: maccatalyst on arm64 begins with 14.0",
        ),
        ({"preset": "iphone", "device": {"host": "llvm"}}, "the device has a host"),
        ({"preset": "iphone", "device": {"kind": 3}}, "the device has no kind"),
        ({"device": {"kind": "llvm"}}, "backends.b: this backend has no preset and does not say everything itself"),
        ({"device": {}, "triple": "x86_64-linux-gnu", "platform": "linux", "arch": "x86_64"}, "the device has no kind"),
    ],
)
def test_what_a_backend_cannot_be(keys, told):
    assert told in refusal(**keys)


def test_a_machine_that_host_does_not_know():
    assert "preset host does not know this machine (Plan9 mips)" in refusal("Plan9 mips", preset="host")


@pytest.mark.tvm
@pytest.mark.parametrize(("preset", "arch"), CHOICES)
def test_tvm_takes_every_preset(preset, arch):
    """A Target is made, kernels and host; whether this TVM has the code generator is another question."""
    from tvm.target import Target

    made = backend(this_machine(), preset=preset, **({"arch": arch} if arch else {}))
    host = {"kind": "llvm", "mtriple": made.triple}
    target = Target({**host, **made.device} if made.device["kind"] == "llvm" else {**made.device, "host": host})
    assert target.kind.name == made.device["kind"]
    if target.host is not None:
        assert target.host.attrs["mtriple"] == made.triple
    if "device" in made.device:
        assert made.device["device"] in target.keys


RUNNERS = {
    "host": ("host",),
    "linux-arm64": ("qemu",),
    "windows": ("wine",),
    "wasm": ("node", "browser"),
    "webgpu": ("webgpu", "browser"),
    "iphone": ("twin",),
    "mali": ("twin",),
    "vulkan": (),
}


@pytest.mark.parametrize("preset", RUNNERS)
def test_every_runner_that_can_runs_a_backends_models(preset):
    assert backend(preset=preset).runners == RUNNERS[preset]


def test_a_backend_may_say_which_of_them_do():
    assert backend(preset="webgpu", runners=("browser",)).runners == ("browser",)
    assert backend(preset="webgpu", runners=("browser", "webgpu")).runners == ("browser", "webgpu")
    assert encode(backend(preset="webgpu", runners=("browser",))) == encode(backend(preset="webgpu")), "in no key"


def test_a_runner_of_another_backend_is_refused():
    said = refusal(preset="wasm", runners=("node", "webgpu"))
    assert "backends.b.runners[1]: runner webgpu cannot run what is built for b" in said
    assert "known runners: browser, node" in said
    assert "nothing here can run its models" in refusal(preset="android:vulkan", runners=("host",))
