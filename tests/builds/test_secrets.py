"""What opens a door is in no key, result, export, remote store, lock, log or message; what identifies bytes is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_web import FakeServer
from nginx_server import Nginx
from projects import Project

FIELDS = ("X-Amz-Signature", "X-Goog-Signature", "sig", "token", "Key-Pair-Id", "anything", "")
SECRETS = [f"SECRET0{number}abcdefghijklmnop" for number in range(len(FIELDS))]
QUERY = "&".join(f"{name}={secret}" if name else secret for name, secret in zip(FIELDS, SECRETS, strict=True))


@pytest.fixture
def web() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    server = Nginx(tmp_path / "nginx")
    server.start()
    yield server
    server.stop()


def leaks(*folders: Path) -> list[str]:
    """Files, and names of files, that hold a secret; what the user wrote does not count."""
    return [
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if path.name != "targets.yaml"
        and ("SECRET0" in path.name or (path.is_file() and any(one.encode() in path.read_bytes() for one in SECRETS)))
    ]


def test_a_signed_url(project: Project, web: FakeServer, nginx: Nginx, tmp_path: Path) -> None:
    web.files["/config.json"] = b"{}" * 5_000
    weights = f'weights: {{url: "{web.url}/config.json?{QUERY}&ref=main"}}'
    project.edit("targets.yaml", "weights: {path: weights}", weights)
    project.env |= {"SLIPWAY_REMOTE": nginx.url, "SLIPWAY_REMOTE_WRITE": "1", "SLIPWAY_DEBUG": "1"}
    task = "weights:tiny"
    said = [project.ok(*words).output for words in (
        (task,), ("explain", task), ("plan", task, "--json"), ("cache", "export", str(tmp_path / "export"), task),
    )]  # fmt: skip
    project.edit("targets.yaml", "SECRET00", "SECRET0x")  # a new signature is the same source
    said.append(project.doit(task).output)
    assert ": built in" not in said[-1], "another signature is no other file"
    del web.files["/config.json"]
    shutil.rmtree(project.path("build"))
    shutil.rmtree(tmp_path / "cache")
    project.edit("targets.yaml", "&ref=main", "&ref=other")
    said.append(project.doit(task).output)
    assert "404" in said[-1]
    assert not [text for text in said if "SECRET0" in text]
    assert not leaks(project.root, nginx.data, tmp_path / "export")
    assert (tmp_path / "export").is_dir()
    assert list(nginx.data.rglob("*"))
    lock = project.path("slipway.lock").read_text()
    assert "X-Amz-Signature=***" in lock
    assert "anything=sha256:" in lock
    assert "ref=main" in lock


@pytest.mark.parametrize(
    "line",
    [
        'weights: {url: "https://user:SECRET0@host/x"}',
        'weights: {url: "https://host/a b?token=SECRET0"}',
        'weights: {url: "ftp://host/a?sig=SECRET0"}',
        'weights: {hf: "https://hub/x?token=SECRET0", revision: main}',
    ],
)
def test_a_mistake_in_a_url_is_told_without_its_secret(project: Project, line: str) -> None:
    project.edit("targets.yaml", "weights: {path: weights}", line)
    run = project.doit("plan")
    assert run.status == 3
    assert "SECRET0" not in run.output
    assert "targets.yaml:" in run.output


def test_a_toolchain_holds_no_password(project: Project) -> None:
    text = project.path("targets.yaml").read_text()
    wheel = "pkg @ https://user:SECRET0@host/x-1-py3-none-any.whl"
    project.write("targets.yaml", f'{text}\ntoolchains:\n  other: {{requirements: ["{wheel}"]}}\n')
    run = project.doit("plan")
    assert run.status == 3
    assert "holds a password or a token" in run.output
    assert "SECRET0" not in run.output
