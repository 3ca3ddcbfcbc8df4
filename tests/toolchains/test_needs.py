"""What a plan cannot be run without on this machine, told before it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.action import Action, Tool
from pipeline.toolchains.needs import HELPS, look, missing


def action(step, backend, *tools, **params):
    given = SimpleNamespace(**{"backend": SimpleNamespace(name=backend), "prebuilt": None, **params})
    return Action(step=step, subject=backend, out=f"build/{step}/{backend}", run=print, params=given, tools=tools)


def here(*names):
    """A machine with these tools alone."""
    return lambda name: Tool(name, Path("/bin") / name, "1") if name in names else None


MAC = (
    action("runtime", "ios", "checkout:runtime", "cmake", "sdk:iphoneos"),
    action("runtime", "catalyst", "checkout:runtime", "cmake", "sdk:macosx"),
)


def test_a_machine_with_everything_needs_nothing():
    assert missing(MAC, here("cmake", "sdk:iphoneos", "sdk:macosx")) == []


def test_a_tool_is_told_once_with_all_backends_that_want_it():
    (need,) = missing(MAC, here("cmake"))
    assert (need.made, need.backends, need.tool) == ("the runtime of", ("ios", "catalyst"), "Xcode")
    assert "prebuilt:" in need.hint


@pytest.mark.parametrize(
    ("given", "tool"),
    [
        (action("runtime", "android", "checkout:runtime", "cmake", "ndk"), "Android's NDK"),
        (action("runtime", "pi", "checkout:runtime", "cmake", "aarch64-cc"), "a C compiler for aarch64"),
        (action("wasm_runtime", "web", "checkout:runtime", "emcc"), "Emscripten"),
        (action("compile", "ios", "metal:iphoneos"), "Apple's Metal compiler"),
    ],
)
def test_what_a_step_fails_without(given, tool):
    (need,) = missing([given], here("cmake"))
    assert need.tool == tool


def test_a_program_of_a_custom_step_is_told_with_its_name():
    given = [replace(action("seal", one, "program:sealer"), runs_command=True) for one in ("a", "b")]
    (need,) = missing(given, here())
    assert (need.made, need.backends, need.tool) == ("the step seal for", ("a", "b"), "sealer")
    assert missing(given, here("program:sealer")) == []


def test_a_runtime_from_the_toolchains_package_stops_nothing():
    web = (action("wasm_runtime", "web", "emcc", wheel="current"), action("wasm", "web", "emcc"))
    assert missing(web, here()) == []


def test_a_linker_that_is_missing_stops_nothing():
    assert missing([action("verify", "ios", "ld64.lld")], here()) == []


def test_tokenizers_in_rust_want_cargo_where_they_are_built():
    tools = here("cmake", "sdk:iphoneos", "sdk:macosx")
    (need,) = missing(MAC, tools, rust=True)
    assert need.tool == "Cargo, for mlc_llm's tokenizers"
    assert missing([action("runtime", "ios", prebuilt=[None])], tools, rust=True) == []


def test_what_only_a_mac_has_is_listed_everywhere(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    found = {one.help.name: one for one in look(here())}
    assert found.keys() == {one.name for one in HELPS}
    assert found["xcodebuild"].hint == "take a Mac; nothing else has it"
    monkeypatch.setattr("sys.platform", "darwin")
    assert "xcode-select" in found["xcodebuild"].hint
