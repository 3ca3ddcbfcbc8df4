"""`doit init` writes a project that builds, and never overwrites a file by surprise."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from projects import Project

CHECKOUT = Path(__file__).parents[2]
WRITTEN = {"targets.yaml", "dodo.py", "recipes/scorer.py", ".gitignore", ".slipway/targets.schema.json"}


@pytest.fixture
def empty(tmp_path: Path) -> Project:
    root = tmp_path / "new"
    root.mkdir()
    return Project(root)


def files(project: Project) -> set[str]:
    return {str(path.relative_to(project.root)) for path in project.root.rglob("*") if path.is_file()}


def test_it_writes_a_project_and_says_what_is_next(empty):
    text = empty.ok("init").output
    assert files(empty) == WRITTEN
    assert "next:" in text
    assert "doit plan" in text
    assert empty.path("dodo.py").read_text().endswith("from pipeline.dodo import DOIT_CONFIG, task_slipway\n")


def test_an_editor_can_resolve_the_schema_that_the_first_line_names(empty):
    empty.ok("init")
    first = empty.path("targets.yaml").read_text().splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert named is not None
    schema = json.loads((empty.path("targets.yaml").parent / named[1]).read_text())
    assert "$schema" in schema
    assert set(schema["required"]) == {"version", "models"}


def test_the_matrix_it_writes_is_valid(empty):
    empty.ok("init")
    listed = empty.ok("list", "--all").output
    for task in ("compile:scorer-f32@ios-arm64", "compile:scorer-f32@android-arm64", "verify:host", "xcframework:ios"):
        assert task in listed


def test_into_another_directory(empty):
    text = empty.ok("init", "deep/inside").output
    assert files(empty) == {f"deep/inside/{name}" for name in WRITTEN}
    assert "cd deep/inside" in text


def test_nothing_is_written_when_a_file_is_in_the_way(empty):
    empty.write("targets.yaml", "mine\n")
    empty.write("targets.yaml.bak", "older\n")
    empty.write(".gitignore", "mine")
    run = empty.doit("init")
    assert run.status == 3
    assert "there already: targets.yaml" in run.output
    assert "--force" in run.output
    assert "Traceback" not in run.output
    assert files(empty) == {"targets.yaml", "targets.yaml.bak", ".gitignore"}
    assert empty.path("targets.yaml").read_text() == "mine\n"
    text = empty.ok("init", "--force").output
    assert "overwritten: targets.yaml\n  yours is now targets.yaml.bak1\n" in text
    assert files(empty) == {*WRITTEN, "targets.yaml.bak", "targets.yaml.bak1"}
    kept = [empty.path(name).read_text() for name in ("targets.yaml.bak", "targets.yaml.bak1")]
    assert kept == ["older\n", "mine\n"]


def test_lines_are_added_to_a_gitignore_and_not_twice(empty):
    empty.write(".gitignore", "*.log\n/dist/")
    empty.ok("init")
    assert empty.path(".gitignore").read_text() == "*.log\n/dist/\n/build/\n__pycache__/\n"
    assert "nothing to write" in empty.ok("init").output
    assert empty.path(".gitignore").read_text().count("/dist/") == 1


def test_the_schema_alone_can_be_renewed(empty):
    empty.ok("init")
    empty.write(".slipway/targets.schema.json", "{}")
    empty.write("targets.yaml", "mine\n")
    empty.ok("init", "--schema")
    assert json.loads(empty.path(".slipway/targets.schema.json").read_text())["required"]
    assert empty.path("targets.yaml").read_text() == "mine\n"


def test_a_directory_that_cannot_be_written_is_an_error_with_a_hint(empty):
    empty.write("file", "")
    run = empty.doit("init", "file/inside")
    assert run.status == 3
    assert "hint:" in run.output
    assert "Traceback" not in run.output


def hatch(kind: str, source: Path, folder: Path) -> Path:
    """What would be published, made without a network."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder],
        cwd=source, check=True, capture_output=True,
    )  # fmt: skip
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hatch("wheel", CHECKOUT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def unpacked_sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(hatch("sdist", CHECKOUT, folder / "made")) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.glob("slipway_tvm-*")
    return source


def everything() -> set[str]:
    """The files of the package; templates are behind a link."""
    package = CHECKOUT / "pipeline"
    inside = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    found = {f"pipeline/{path.relative_to(package)}" for path in inside}
    return found | {f"pipeline/templates/{path.name}" for path in (CHECKOUT / "templates").glob("*.j2")}


def test_the_wheel_has_all_that_is_not_python(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = everything()
    assert wanted | {"slipway_doit.py"} <= names
    for name in ("starter/targets.yaml", "starter/gitignore", "matrix/targets.schema.json", "matrix/presets.yaml"):
        assert f"pipeline/{name}" in wanted
    assert "pipeline/templates/models.h.j2" in wanted
    assert not [name for name in names if not name.startswith(("pipeline/", "slipway_doit.py", "slipway_tvm-"))]


def test_the_source_distribution_has_the_templates_and_makes_the_same_wheel(unpacked_sdist, wheel, tmp_path):
    assert (unpacked_sdist / "pipeline" / "templates" / "models.h.j2").is_file()
    made = zipfile.ZipFile(hatch("wheel", unpacked_sdist, tmp_path))
    published = zipfile.ZipFile(wheel)
    assert set(made.namelist()) == set(published.namelist())
    templates = [name for name in made.namelist() if name.endswith(".j2")]
    assert templates
    assert [name for name in templates if made.read(name) != published.read(name)] == []


def test_an_editable_install_reads_the_templates_of_the_checkout(tmp_path):
    url = importlib.metadata.distribution("slipway-tvm").read_text("direct_url.json")
    if url is None or not json.loads(url).get("dir_info", {}).get("editable"):
        pytest.skip("these tests run from an ordinary install")
    where = subprocess.run(
        [sys.executable, "-c", "import pipeline; print(*pipeline.__path__)"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    template = Path(where.stdout.strip()) / "templates" / "models.h.j2"
    assert template.samefile(CHECKOUT / "templates" / "models.h.j2")


@pytest.mark.tvm
def test_init_and_doit_of_the_installed_wheel_build_and_prove(wheel, empty, tmp_path):
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)  # noqa: S202 - of our own making
    env = {"PYTHONPATH": str(site)}
    where = subprocess.run(
        [sys.executable, "-c", "import pipeline; print(pipeline.__file__)"],
        env={**os.environ, **env}, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(site))
    empty.ok("init", env=env)
    run = empty.ok(env=env)
    assert "scorer-f32@host" in run.output
    assert "run: max error" in run.output
    assert "26 tasks: 26 built" in run.output
    assert empty.ok(env=env).idle
