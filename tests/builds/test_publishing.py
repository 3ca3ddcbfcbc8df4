"""What is in dist/ was proven: products appear there whole and after their proofs. With the real `doit`."""

from __future__ import annotations

import hashlib
import json

import pytest
from projects import Project, Run

pytestmark = pytest.mark.tvm

WRONG = ("np.maximum(x @ w.T, 0), 1e-5)", "np.maximum(x @ w.T, 0) + 1, 1e-5)")
"""An edit that makes the check on the host fail."""

SPOILT_EXPORTS = "_of_another_kit\n"


@pytest.fixture
def two_products(project: Project) -> Project:
    project.edit("targets.yaml", "products:\n", "products:\n  native: {kind: native, backends: [host], programs: []}\n")
    return project


def listed(project: Project, product: str) -> None:
    """A product is exactly what its manifest says."""
    folder = project.path(f"dist/{product}")
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"manifest.json"}
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert found == {one["path"] for one in files}
    for one in files:
        data = (folder / one["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (one["size"], one["sha256"]), one["path"]


def row(run: Run, what: str) -> str:
    return next((line for line in run.output.splitlines() if line.startswith(f"{what} ")), "")


def test_each_product_has_its_manifest_and_its_proofs(two_products: Project) -> None:
    two_products.ok()
    for product in ("native", "kit"):
        listed(two_products, product)
    document = two_products.json("dist/native/manifest.json")
    assert document["products"] == [{"name": "native", "kind": "native", "backends": ["host"]}]
    assert [one["subject"] for one in document["proofs"]] == ["host", "native"]
    every = two_products.products()
    files = {one["path"] for one in two_products.json("dist/manifest.json")["files"]}
    assert files == every.keys() - {"manifest.json"}


def test_a_library_with_wrong_numbers_stays_out_and_the_others_come_in(two_products: Project) -> None:
    two_products.edit("recipe.py", *WRONG)
    run = two_products.doit("-c")
    assert run.status == 1, run.output
    assert "check:tiny-f32@host: FAILED" in run.output
    assert sorted(path.name for path in two_products.path("dist").iterdir()) == ["kit"]
    listed(two_products, "kit")
    assert not row(run, "dist/native/")
    assert "as proven" in row(run, "dist/kit/")
    assert row(run, "tiny-f32@host").endswith("not proven: check:tiny-f32@host failed")
    assert two_products.path("build/linkkit/native/link.json").is_file(), "it was put together, and is there to look at"
    assert two_products.doit().status == 1, "the same without -c"


def test_what_was_proven_before_stays_when_todays_fails(two_products: Project) -> None:
    two_products.ok()
    before = two_products.products()
    two_products.edit("recipe.py", *WRONG)
    two_products.edit("recipe.py", "nn.op.relu(self.linear(x))", "nn.op.relu(self.linear(x)) * 2")
    run = two_products.doit("-c")
    assert run.status == 1, run.output
    now = two_products.products()
    assert {name for name in before if name.startswith(("native/", "bundle/")) and now[name] != before[name]} == set()
    assert now["kit/kit.xcframework/ios-arm64/libkit.a"] != before["kit/kit.xcframework/ios-arm64/libkit.a"]
    for product in ("native", "kit"):
        listed(two_products, product)
    assert "as proven" not in row(run, "dist/native/")
    assert "earlier run" in row(run, "dist/native/")
    two_products.edit("recipe.py", "+ 1, 1e-5)", "* 1 + np.maximum(x @ w.T, 0), 1e-5)")
    assert "product:native" in two_products.ok().worked
    assert two_products.ok().idle


@pytest.mark.parametrize(
    ("template", "spoilt"),
    [("exported_symbols.txt.j2", SPOILT_EXPORTS), ("settings.xcconfig.j2", "OTHER_LDFLAGS = -lnothing\n")],
)
def test_a_kit_that_a_template_spoils_stays_out(built: Project, template: str, spoilt: str) -> None:
    before = built.products()
    built.write(f"templates/{template}", spoilt)
    built.edit("targets.yaml", "backends: [ios-arm64]}", "backends: [ios-arm64], templates: templates}")
    for words in ((), ("-c",)):
        run = built.doit(*words)
        assert run.status == 1, run.output
        assert "verify:kit" in run.output
        assert built.products() == before


def test_a_task_that_waits_for_a_failed_one_does_not_change_the_status(built: Project) -> None:
    built.edit(
        "recipe.py", "def build(spec: BuildSpec):\n", "def build(spec: BuildSpec):\n    raise ValueError('no')\n"
    )
    assert built.doit("-c").status == built.doit().status == built.doit("-c", "-n", "1").status == 1


def test_what_others_keep_beside_a_kit_stays_there(built: Project) -> None:
    built.write("dist/kit/Package.resolved", "{}")
    built.write("dist/kit/.swiftpm/xcode/state", "open")
    built.path("dist/kit/link").symlink_to("Package.swift")
    built.write("templates/models.h.j2", "#define OURS\n")
    built.edit("targets.yaml", "backends: [ios-arm64]}", "backends: [ios-arm64], templates: templates}")
    unchanged = built.path("dist/kit/kit.xcframework/Info.plist").stat()
    built.ok()
    assert built.path("dist/kit/Sources/kitKit/include/kit.h").read_text() == "#define OURS\n"
    assert built.path("dist/kit/Package.resolved").read_text() == "{}"
    assert built.path("dist/kit/.swiftpm/xcode/state").read_text() == "open"
    assert built.path("dist/kit/link").is_symlink()
    now = built.path("dist/kit/kit.xcframework/Info.plist").stat()
    assert (now.st_mtime_ns, now.st_ino) == (unchanged.st_mtime_ns, unchanged.st_ino), "what stays is not written anew"
    assert built.ok().idle
