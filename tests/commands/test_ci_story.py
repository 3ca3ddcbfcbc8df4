"""The nightly build, as .github/workflows/nightly.yml has it: its scripts are run, each job in a fresh clone."""

from __future__ import annotations

import json
import re

import pytest
from fake_runner import Result, Runner, workflow
from projects import Project, clone

pytestmark = [pytest.mark.tvm, pytest.mark.slow]

FROM_HITS = "Take everything that was compiled from the store, or fail"
ASSEMBLE = "Assemble and prove the products"
CHEAP = {"check", "archive", "linkkit", "xcframework", "bundle", "verify", "product", "manifest"}


def worked(log: str) -> dict[str, str]:
    return dict(re.findall(r"^\[ *\d+/\d+\] (\S+): (built|restored|fetched) in", log, re.MULTILINE))


class Night:
    """One run of the workflow on the state of a project."""

    def __init__(self, project: Project, runner: Runner) -> None:
        self.project, self.runner = project, runner

    def job(self, name: str, values: dict[str, str] | None = None) -> tuple[Result, Project]:
        number = len(list(self.project.root.parent.glob("clone-*")))
        root = self.project.root.parent / f"clone-{number}"
        cloned = clone(self.project, root)
        return self.runner.run(name, root, values), cloned

    def prepare(self) -> list[dict[str, str]]:
        result, _ = self.job("prepare")
        assert result.failed is None, result.log
        return json.loads(result.outputs["matrix"])["include"]

    def cells(self, groups: list[dict[str, str]]) -> list[Result]:
        results = []
        for index, group in enumerate(groups):
            values = {f"matrix.{key}": text for key, text in group.items()} | {"strategy.job-index": str(index)}
            results.append(self.job("cells", values)[0])
        return results


@pytest.fixture
def wide(project: Project) -> Project:
    """A project with two variants on two backends: four cells in two groups."""
    project.edit("targets.yaml", "    variants:\n", "    variants:\n      g32: {dtype: float32}\n")
    return project


def test_jobs_fill_one_store_and_the_products_come_from_hits_only(wide, tmp_path):
    jobs = workflow("nightly.yml")["jobs"]
    first = Night(wide, Runner(jobs, tmp_path, 1))
    groups = first.prepare()
    assert [group["name"] for group in groups] == ["tiny-g32", "tiny-f32"]
    for result, group in zip(first.cells(groups), groups, strict=True):
        assert result.failed is None, result.log
        built = {name for name, how in worked(result.log).items() if how == "built"}
        assert built == set(group["tasks"].split())

    result, made = first.job("products")
    assert result.failed is None, result.log
    taken = worked(result.logs[FROM_HITS])
    assert set(taken.values()) == {"restored"}
    assert len([name for name in taken if name.startswith("compile:")]) == 4
    assembled = worked(result.logs[ASSEMBLE])
    assert {name.partition(":")[0] for name in assembled} == CHEAP
    assert made.json("dist/manifest.json")

    # The next night nothing has changed: no cell is left, and nothing at all is built.
    second = Night(wide, Runner(jobs, tmp_path, 2))
    assert second.prepare() == []
    result, again = second.job("products")
    assert result.failed is None, result.log
    assert set(worked(result.log).values()) == {"restored"}
    assert again.products() == made.products()

    # A change of one backend: its cells only.
    wide.edit("targets.yaml", '"14.0"', '"15.0"')
    third = Night(wide, Runner(jobs, tmp_path, 3))
    groups = third.prepare()
    assert [group["tasks"] for group in groups] == ["compile:tiny-g32@ios-arm64", "compile:tiny-f32@ios-arm64"]

    # One of its two jobs is lost: the products job says what is missing, and what the other made is kept.
    third.cells(groups[:1])
    result, _ = third.job("products")
    assert result.failed == FROM_HITS
    assert "compile:tiny-f32@ios-arm64 is not in the store" in result.logs[FROM_HITS]
    assert "compile:tiny-g32@ios-arm64" in worked(result.logs[FROM_HITS])
    fourth = Night(wide, Runner(jobs, tmp_path, 4))
    assert [group["tasks"] for group in fourth.prepare()] == ["compile:tiny-f32@ios-arm64"]


def test_a_store_that_was_tampered_with_ends_the_products_job_before_anything_is_made(project, tmp_path):
    night = Night(project, Runner(workflow("nightly.yml")["jobs"], tmp_path))
    night.cells(night.prepare())
    blobs = night.runner.artifacts / "store-cells-0" / "v2/cas"
    blob = max((path for path in blobs.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    result, made = night.job("products")
    assert "merge" in (result.failed or "")
    assert "is damaged" in result.log
    assert not made.path("dist").exists()
