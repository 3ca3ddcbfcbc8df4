"""The section `runtime`, and where Metal's kernels are compiled."""

from __future__ import annotations

import pytest

from pipeline.documents.codec import dumps
from pipeline.plan import plan

TEXT = """\
version: 1
models:
  one: {factory: recipe.py:build, variants: {f32: {}}}
backends:
  ios: {preset: iphone%s}
  sim: {preset: iphone-simulator}
  linux: {preset: linux-x86_64}
  web: {preset: webgpu}
matrix: {model: [one], backend: [ios, sim, linux, web]}
products:
  apple: {kind: xcframework, backends: [ios, sim]}
  page: {kind: web, backends: [web]}
%s
"""


@pytest.fixture
def checkout(project):
    (project / "tvm").mkdir()
    return project / "tvm"


def text(runtime="", backend=""):
    return TEXT % (backend, runtime)


def actions(matrix):
    return {action.name: action for action in plan(matrix, {})}


def test_a_checkout_is_for_every_backend_of_a_product(expand, checkout):
    matrix = expand(text("runtime: {source: tvm}"))
    assert matrix.runtime.backends == ("ios", "sim", "web")
    found = actions(matrix)
    assert {name for name in found if "runtime:" in name or name.startswith("wasm:")} == {
        "runtime:ios", "runtime:sim", "wasm_runtime:web", "wasm:web"
    }  # fmt: skip
    assert found["runtime:ios"].tools == ("checkout:runtime", "cmake", "sdk:iphoneos")
    assert found["wasm_runtime:web"].tools == ("checkout:runtime", "emcc")
    assert found["wasm:web"].outputs == ("one-f32-webgpu.wasm", "wasm.json")
    assert found["linkkit:apple"].upstream["runtime:ios"].action == "runtime:ios"
    assert found["linkkit:page"].upstream["wasm:web"].action == "wasm:web"
    assert found["verify:sim"].upstream["runtime"].action == "runtime:sim"
    assert "runtime" not in found["verify:linux"].upstream


def test_no_path_of_this_machine_is_in_a_key(expand, checkout):
    for action in actions(expand(text("runtime: {source: tvm}"))).values():
        assert str(checkout.parent) not in dumps(action.params)


def test_without_the_section_there_is_no_runtime(expand):
    matrix = expand(text())
    assert not matrix.runtime.backends
    assert not [name for name in actions(matrix) if "runtime" in name]


def test_backends_may_be_named(expand, checkout):
    assert expand(text("runtime: {source: tvm, backends: [linux, web]}")).runtime.backends == ("linux", "web")


@pytest.mark.parametrize("variable", ["TVM_SOURCE_DIR", "MLC_LLM_SOURCE_DIR"])
@pytest.mark.parametrize("written", ["${}", "${{{}}}", "${}/inside"])
def test_a_variable_stands_for_its_value(expand, checkout, monkeypatch, variable, written):
    (checkout / "inside").mkdir()
    monkeypatch.setenv(variable, str(checkout))
    source = expand(text(f'runtime: {{source: "{written.format(variable)}"}}')).runtime.source
    assert source == str(checkout) + ("/inside" if "inside" in written else "")


def test_options_are_what_cmake_reads(expand, checkout):
    options = expand(text("runtime: {source: tvm, options: {USE_MPS: ON, USE_RPC: off, LEVEL: 2, NAME: a b}}")).runtime
    assert options.options == {"USE_MPS": "ON", "USE_RPC": "OFF", "LEVEL": "2", "NAME": "a b"}


def test_prebuilt_archives_stand_for_a_build(expand, project, checkout):
    (project / "libtvm_runtime.a").write_text("")
    digest = "0" * 64
    matrix = expand(
        text(
            "runtime: {source: tvm, prebuilt: "
            f"{{ios: [libtvm_runtime.a, {{path: libtvm_runtime.a, sha256: '{digest}'}}]}}}}"
        )
    )
    found = actions(matrix)
    assert found["runtime:ios"].files == {"prebuilt:0": "libtvm_runtime.a", "prebuilt:1": "libtvm_runtime.a"}
    assert found["runtime:ios"].params.prebuilt == (None, digest)
    assert found["runtime:ios"].tools == ()
    assert found["runtime:sim"].params.prebuilt is None


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        ("runtime: {}", "this runtime comes from nowhere"),
        ("runtime: {source: nothing}", "there is no directory `nothing`"),
        ("runtime: {source: $TVM_SOURCE_DIR}", "the variable TVM_SOURCE_DIR is not set"),
        ("runtime: {source: tvm, backends: [ois]}", "no cell is compiled for backend `ois`"),
        ("runtime: {source: tvm, backends: [ios]}", "product apple has a runtime for some of its backends"),
        ("runtime: {prebuilt: {ios: [libtvm_runtime.a]}}", "nothing says where the runtime of sim, web comes from"),
        ("runtime: {source: tvm, prebuilt: {ois: [libtvm_runtime.a]}}", "unknown backend `ois`"),
        ("runtime: {source: tvm, prebuilt: {web: [libtvm_runtime.a]}}", "a runtime for wasm is not an archive"),
        ("runtime: {source: tvm, prebuilt: {ios: [nothing.a]}}", "there is no file `nothing.a`"),
        ("runtime: {source: tvm, sources: tvm}", "runtime.sources: unknown key"),
    ],
)
@pytest.mark.usefixtures("checkout")
def test_what_is_wrong_is_said_with_its_place(refuse, project, monkeypatch, runtime, message):
    monkeypatch.delenv("TVM_SOURCE_DIR", raising=False)
    (project / "libtvm_runtime.a").write_text("")
    said = refuse(text(runtime))
    assert message in said
    assert said.startswith("targets.yaml:13:")


def test_kernels_are_source_where_nobody_says_otherwise(expand):
    found = {backend.name: backend.kernels for backend in expand(text()).backends}
    assert found == {"ios": "source", "sim": "source", "linux": None, "web": None}


def test_a_metallib_brings_its_compiler_into_the_key(expand):
    found = actions(expand(text(backend=", kernels: metallib")))
    assert found["compile:one-f32@ios"].tools == ("metal:iphoneos",)
    assert found["compile:one-f32@ios"].params.backend.kernels == "metallib"
    assert found["compile:one-f32@sim"].tools == ()


def test_where_kernels_are_compiled_is_nothing_to_the_runtime(expand, checkout):
    one = actions(expand(text("runtime: {source: tvm}")))["runtime:ios"]
    other = actions(expand(text("runtime: {source: tvm}", ", kernels: metallib")))["runtime:ios"]
    assert one.params == other.params


def test_only_metal_has_that_choice(refuse):
    said = refuse(text().replace("preset: webgpu", "preset: webgpu, kernels: metallib"))
    assert "only Metal has a choice of kernels, and the device is webgpu" in said


PACKAGED = """\
version: 1
models:
  one: {factory: recipe.py:build, check: recipe.py:check, variants: {f32: {}}}
backends:
  host: {preset: host}
  arm: {preset: linux-arm64}
  mac: {preset: macos}
  ios: {preset: iphone}
  droid: {preset: android}
  web: {preset: webgpu}
matrix: {model: [one], backend: [host, arm, mac, ios, droid, web]}
products:
  native: {kind: native, backends: [host, arm, mac]}
  mixed: {kind: native, backends: [droid]}
  apple: {kind: xcframework, backends: [ios, mac]}
  page: {kind: web, backends: [web]}
runtime: {wheel: true%s}
"""


@pytest.fixture
def recipe(project):
    (project / "recipe.py").write_text("def build(spec): ...\ndef check(session): ...\n")


@pytest.mark.usefixtures("recipe")
def test_a_package_has_a_runtime_for_machines_and_pages(expand):
    matrix = expand(PACKAGED % "")
    assert matrix.runtime.backends == ("host", "arm", "mac", "web")
    found = actions(matrix)
    assert not {"wheel:apache-tvm@linux-x86_64", "runtime:droid", "runtime:ios"} & found.keys()
    assert set(found["runtime:host"].upstream) == {"toolchain"}, "the toolchain's own"
    for name, platform in {"arm": "linux-arm64", "mac": "macos-arm64"}.items():
        edges = {edge.action for edge in found[f"runtime:{name}"].upstream.values()}
        assert edges == {"toolchain:current", *(f"wheel:{one}@{platform}" for one in ("apache-tvm", "apache-tvm-ffi"))}
        assert found[f"wheel:apache-tvm@{platform}"].tools == (), "shipped, whatever can run it here"
    assert {"runtime:host", "runtime:arm", "runtime:mac"} <= set(found["linkkit:native"].upstream)
    assert not [role for role in found["linkkit:apple"].upstream if role.startswith("runtime")], "no archive"
    assert "check:native/one-f32@arm/cpp" in found


@pytest.mark.usefixtures("recipe")
def test_what_is_only_run_is_fetched_where_it_can_be(expand):
    found = actions(expand(PACKAGED % ", backends: [web]"))
    assert found["wheel:apache-tvm@linux-arm64"].tools == ("qemu-aarch64", "aarch64-c++")
    assert "wheel:apache-tvm@macos-arm64" not in found
    assert {"check:native/one-f32@host/cpp", "check:native/one-f32@host/rust"} <= found.keys()
    assert "check:native/one-f32@arm/cpp" not in found, "its kit has no runtime to link with"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("true%s", "true, backends: [host, droid]", "nothing says where the runtime of droid comes from"),
        (
            "true%s",
            "true, backends: [host]",
            "product native has a runtime for some of its backends and none for arm, mac",
        ),
        ("[ios, mac]}", "[ios, mac], programs: [cpp]}", "no program is built from a kit of kind xcframework"),
    ],
)
@pytest.mark.usefixtures("recipe")
def test_what_a_package_has_not_is_said(refuse, old, new, message):
    assert message in refuse(PACKAGED.replace(old, new).replace("%s", ""))


@pytest.mark.usefixtures("recipe")
def test_programs_are_chosen_by_language(expand):
    for written, languages in {"[]": set(), "[rust]": {"rust"}}.items():
        text = (
            PACKAGED.replace("backends: [host, arm, mac]}", f"backends: [host, arm, mac], programs: {written}}}") % ""
        )
        found = {name for name in actions(expand(text)) if name.startswith("check:native/")}
        assert found == {f"check:native/one-f32@host/{one}" for one in languages}


@pytest.mark.usefixtures("recipe")
def test_the_runtime_for_pages_is_compiled_once(expand):
    two = text("  cpu: {kind: web, backends: [bare]}\nruntime: {wheel: true}")
    two = two.replace("  web: {preset: webgpu}\n", "  web: {preset: webgpu}\n  bare: {preset: wasm}\n")
    two = two.replace("linux, web]", "linux, web, bare]").replace("build, var", "build, check: recipe.py:check, var")
    found = actions(expand(two))
    assert [name for name in found if name.startswith("wasm_runtime:")] == ["wasm_runtime:web"]
    assert found["wasm:bare"].upstream["runtime"].action == "wasm_runtime:web"
    runs = {name: action.tools for name, action in found.items() if action.step == "check"}
    assert runs == {
        "check:one-f32@web": ("node", "npm", "vulkan"),
        "check:one-f32@web/browser": ("node", "npm", "chromium"),
        "check:one-f32@bare": ("node", "npm"),
        "check:one-f32@bare/browser": ("node", "npm", "chromium"),
    }
    proof, shipped = found["verify:bare"].upstream, found["product:cpu"].upstream
    for name in ("check:one-f32@bare", "check:one-f32@bare/browser"):
        assert proof[name].action == shipped[name].action == name


def test_the_release_of_the_apps_runtime_is_for_devices_only(expand):
    plain, declared = (actions(expand(text() + more)) for more in ("", 'runtime_version: "0.22.0"\n'))
    versions = {name: getattr(action.params, "runtime_version", None) for name, action in declared.items()}
    told = {"archive:ios", "archive:sim", "archive:linux", "verify:ios", "verify:sim", "verify:linux"}
    assert {name for name, version in versions.items() if version == "0.22.0"} == told
    changed = {name for name in plain if dumps(plain[name].params) != dumps(declared[name].params)}
    assert changed == told, "nothing else is another, and a page has the toolchain's runtime"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("0.22", 'write it in quotes: "0.22"'),
        ('"0.18.dev0"', "`0.18.dev0` is not a release of TVM"),
        ('"nightly"', 'write it in quotes, like "0.22.0"; of a development version the release before it'),
    ],
)
def test_what_is_no_release(refuse, written, said):
    assert said in refuse(text() + f"runtime_version: {written}\n")
