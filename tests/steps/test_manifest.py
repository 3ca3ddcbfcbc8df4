"""The manifest step: every shipped file once, with its size and digest."""

from __future__ import annotations

import hashlib
import json

import pytest

from pipeline.errors import StepError
from pipeline.steps import manifest

PRODUCTS = [{"name": "models", "kind": "xcframework", "backends": ["ios-arm64"]}]


@pytest.fixture
def dist(tmp_path):
    """Make the outputs of an action: `dist("linkkit:models", {"a": "text"})`."""

    def make(action, files):
        folder = tmp_path / "view" / action.replace(":", ".")
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    return make


def test_every_file_is_listed_once_and_in_order(job, dist):
    inputs = {
        "linkkit:models": dist("linkkit:models", {"link.json": "{}", "models.xcconfig": "X"}),
        "bundle:bert-f32": dist("bundle:bert-f32", {"sub/config.json": "é"}),
        "xcframework:models": dist("xcframework:models", {"link.json": "{}", "models.xcframework/Info.plist": "<>"}),
    }
    work = job({"products": PRODUCTS}, inputs)
    facts = manifest.run(work)
    document = json.loads((work.out / "manifest.json").read_text())
    assert document["schema"] == 1
    assert document["products"] == PRODUCTS
    assert document["files"] == [
        {"path": path, "size": len(text.encode()), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        for path, text in (
            ("bundle/bert-f32/sub/config.json", "é"),
            ("models/link.json", "{}"),
            ("models/models.xcconfig", "X"),
            ("models/models.xcframework/Info.plist", "<>"),
        )
    ]
    assert facts == {"files": 4, "bytes": 7}

    again = job({"products": PRODUCTS}, dict(reversed(inputs.items())))
    manifest.run(again)
    assert (again.out / "manifest.json").read_bytes() == (work.out / "manifest.json").read_bytes()


def test_what_was_proven_is_told_and_is_no_file_of_the_products(job, dist):
    report = json.dumps({"subject": "ios-arm64", "checks": [], "proven": "linked, 4/4 constructors"})
    inputs = {
        "linkkit:models": dist("linkkit:models", {"link.json": "{}"}),
        "verify:ios-arm64": dist("verify:ios-arm64", {"report.json": report}),
    }
    work = job({"products": PRODUCTS}, inputs)
    manifest.run(work)
    document = json.loads((work.out / "manifest.json").read_text())
    assert document["proofs"] == [{"subject": "ios-arm64", "proven": "linked, 4/4 constructors"}]
    assert [file["path"] for file in document["files"]] == ["models/link.json"]


def test_two_owners_of_one_path_are_named(job, dist):
    inputs = {
        "linkkit:models": dist("linkkit:models", {"link.json": "one"}),
        "xcframework:models": dist("xcframework:models", {"link.json": "two"}),
    }
    with pytest.raises(StepError, match=r"linkkit:models and xcframework:models both write dist/models/link.json"):
        manifest.run(job({"products": PRODUCTS}, inputs))
