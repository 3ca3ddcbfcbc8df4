"""The steps that list what is shipped: every file once, with its size and digest, and what was proven of it."""

from __future__ import annotations

import hashlib
import json

import pytest

from pipeline.documents.codec import dumps
from pipeline.documents.report import Report
from pipeline.errors import StepError
from pipeline.steps import manifest, product

PRODUCT = {"name": "models", "kind": "xcframework", "backends": ["ios-arm64"]}


@pytest.fixture
def made(tmp_path):
    """Make the outputs of an action: `made("linkkit:models", {"a": "text"})`."""

    def make(action, files):
        folder = tmp_path / "made" / action.replace(":", ".")
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    return make


def report(subject, proven):
    return {"report.json": dumps(Report(subject, (), proven))}


def listed(files):
    return [
        {"path": path, "size": len(text.encode()), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        for path, text in files
    ]


def test_models_for_other_runtimes_are_listed_with_what_they_are(job, made):
    model = {"name": "g", "runtime": "llama.cpp", "format": "gguf", "file": "g.gguf", "size": 1, "sha256": "0"}
    role = "product:bundle/g"
    inputs = {role: made(role, {"model.json": json.dumps(model), "g.gguf": "g"})}
    work = job({"products": [], "places": {role: "bundle/g/"}, "models": [role]}, inputs)
    manifest.run(work)
    assert json.loads((work.out / "manifest.json").read_text())["models"] == [model]


def test_devices_are_listed_with_what_models_take(job, made):
    device = {"name": "d", "os": "android", "ram": 4, "usable": 2, "backends": ["mali"]}
    takes = {"model": "declared", "backend": "mali", "bytes": 1}
    option = {"cell": "built@mali", "model": "built", "backend": "mali"}
    role = "memory:built@mali"
    inputs = {role: made(role, {"memory.json": '{"parameters": 3, "temporary": 4, "cache": 5, "at_least": true}'})}
    params = {"products": [], "places": {}, "devices": [device | {"takes": [takes]}], "measured": {"d": [option]}}
    work = job(params, inputs)
    manifest.run(work)
    (listed,) = json.loads((work.out / "manifest.json").read_text())["devices"]
    assert listed["takes"] == [
        takes | {"at_least": False},
        {"model": "built", "backend": "mali", "bytes": 12, "at_least": True},
    ]


def test_every_file_is_listed_once_and_in_order(job, made):
    inputs = {
        "product:models": made("product:models", {"link.json": "{}", "models.xcframework/Info.plist": "<>"}),
        "product:bundle/bert-f32": made("product:bundle/bert-f32", {"sub/config.json": "é"}),
        "verify:ios-arm64": made("verify:ios-arm64", report("ios-arm64", "linked, 4/4 constructors")),
    }
    places = {"product:models": "models/", "product:bundle/bert-f32": "bundle/bert-f32/"}
    work = job({"products": [PRODUCT], "places": places}, inputs)
    facts = manifest.run(work)
    document = json.loads((work.out / "manifest.json").read_text())
    assert document == {
        "schema": 1,
        "products": [PRODUCT],
        "proofs": [{"subject": "ios-arm64", "proven": "linked, 4/4 constructors"}],
        "files": listed([
            ("bundle/bert-f32/sub/config.json", "é"), ("models/link.json", "{}"),
            ("models/models.xcframework/Info.plist", "<>"),
        ]),
    }  # fmt: skip
    assert facts == {"files": 3, "bytes": 6}

    again = job({"products": [PRODUCT], "places": places}, dict(reversed(inputs.items())))
    manifest.run(again)
    assert (again.out / "manifest.json").read_bytes() == (work.out / "manifest.json").read_bytes()


def test_a_product_is_its_parts_and_a_list_of_them(job, made):
    inputs = {
        "part:linkkit:models": made("linkkit:models", {"link.json": "{}", "models.xcconfig": "X"}),
        "part:xcframework:models": made(
            "xcframework:models", {"link.json": "{}", "models.xcframework/Info.plist": "<>"}
        ),
        "verify:models": made("verify:models", report("models", "1 archive as proven")),
    }
    work = job({"product": PRODUCT}, inputs)
    facts = product.run(work)
    document = json.loads((work.out / "manifest.json").read_text())
    assert document["products"] == [PRODUCT]
    assert document["proofs"] == [{"subject": "models", "proven": "1 archive as proven"}]
    files = [("link.json", "{}"), ("models.xcconfig", "X"), ("models.xcframework/Info.plist", "<>")]
    assert document["files"] == listed(files)
    assert {path: work.adopted[path][0].read_text() for path in work.adopted} == dict(files)
    assert facts == {"files": 3, "bytes": 5}


def test_a_bundle_is_shipped_as_it_is(job, made):
    work = job({"product": None}, {"part:bundle:bert-f32": made("bundle:bert-f32", {"config.json": "{}"})})
    product.run(work)
    assert list(work.adopted) == ["config.json"]
    assert not list(work.out.rglob("manifest.json"))


def test_two_parts_with_different_files_of_one_path_are_named(job, made):
    inputs = {
        "part:linkkit:models": made("linkkit:models", {"link.json": "one"}),
        "part:xcframework:models": made("xcframework:models", {"link.json": "two"}),
    }
    with pytest.raises(StepError, match=r"linkkit:models and xcframework:models both write link.json"):
        product.run(job({"product": PRODUCT}, inputs))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a", "A"], "writes 'a', which differs from A in upper and lower case alone"),
        (["x/CON.txt"], "holds CON.txt, which is a device on Windows"),
        (["x."], "ends in a dot or a blank"),
        (["a\nb"], "writes 'a\\\\nb', which holds what is no text"),
        (["a\udcff"], "writes 'a\\\\udcff', which holds what is no text"),
    ],
)
def test_what_not_every_system_can_unpack_is_refused(job, made, names, said):
    inputs = {"part:seal:once": made("seal:once", dict.fromkeys(names, "text"))}
    with pytest.raises(StepError, match=said):
        product.run(job({"product": None}, inputs))


def test_names_of_other_scripts_are_shipped(job, made):
    work = job({"product": None}, {"part:seal:once": made("seal:once", {"größe/名 前.bin": "text"})})
    assert product.run(work)["files"] == 1
