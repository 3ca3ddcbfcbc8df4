"""Backends that this compiler cannot serve, and mistakes in templates: the rest is built, what was built stands."""

from __future__ import annotations

import pytest
from bad_input import nothing_lost, refused

pytestmark = pytest.mark.tvm


def with_backend(project, spec: str) -> None:
    """Add a backend `gpu` to the matrix, in line 11 of targets.yaml."""
    project.edit("targets.yaml", "  host: {preset: host}\n", f"  host: {{preset: host}}\n  gpu: {spec}\n")
    project.edit("targets.yaml", "backend: [host, ios-arm64]", "backend: [host, ios-arm64, gpu]")


def with_template(project, name: str, text: str) -> None:
    """Give the kit a directory of templates with one file in it."""
    project.edit("targets.yaml", "backends: [ios-arm64]}", "backends: [ios-arm64], templates: mine}")
    project.write(f"mine/{name}", text)


def test_a_device_that_this_tvm_has_no_code_generator_for(built):
    with nothing_lost(built):
        with_backend(built, "{preset: vulkan}")
        told = refused(built, "-c")
        assert told.count("FAILED") == 1
        assert "✗ compile:tiny-f32@gpu\ntargets.yaml:11:3: toolchain current has no code " in told
        assert " generator for 'vulkan', the device of backend gpu\n  hint: choose a device of kind " in told
        assert "  4 more tasks wait for this\n" in told
        assert "20 tasks: 15 fresh, 1 failed, 4 not started\n" in told


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("{preset: iphone, device: {kind: metall}}", "metall"),
        ("{preset: linux-arm64, triple: aarch64-linux-gnu, device: {kind: llvm, mtripel: x}}", "mtripel"),
    ],
    ids=["kind", "option"],
)
def test_a_device_that_tvm_does_not_know(spec, what, built):
    with nothing_lost(built):
        with_backend(built, spec)
        told = refused(built, "compile:tiny-f32@gpu")
        assert "✗ compile:tiny-f32@gpu\ntargets.yaml:11:3: " in told
        assert what in told
        assert "\n  hint: " in told


TEMPLATES = {
    "has an undefined variable": (
        ("settings.xcconfig.j2", "// mine\nPRODUCT = {{ prodct }}\n"),
        "mine/settings.xcconfig.j2:2: 'prodct' is undefined",
        "did you mean `product`? there are: ",
    ),
    "has an undefined attribute": (
        ("settings.xcconfig.j2", "{% for model in models %}{{ model.prefx }}{% endfor %}\n"),
        "mine/settings.xcconfig.j2:1: ",
        "there are: ",
    ),
    "is no template": (
        ("settings.xcconfig.j2", "// mine\nPRODUCT = {{ product }\n"),
        "mine/settings.xcconfig.j2:2: unexpected '}'",
        "correct the template",
    ),
    "replaces nothing": (
        ("settings.xconfig.j2", ""),
        "mine/settings.xconfig.j2: this template replaces none of ours",
        "did you mean `settings.xcconfig.j2`? ours are: ",
    ),
}


@pytest.mark.parametrize("mistake", TEMPLATES)
def test_a_template_that(mistake, built):
    template, what, hint = TEMPLATES[mistake]
    with nothing_lost(built):
        with_template(built, *template)
        told = refused(built, "-c")
        assert told.count("FAILED") == 1
        assert f"✗ linkkit:kit\n{what}" in told
        assert f"\n  hint: {hint}" in told
        assert "  3 more tasks wait for this\n" in told
