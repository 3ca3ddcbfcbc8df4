"""What no human writes: files that do not end, values that cannot be, matrices that nobody has the time for."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pipeline.errors import MatrixError
from pipeline.matrix.document import Document
from pipeline.matrix.expand import load
from pipeline.plan.lockfile import read_lock

READERS = {"targets.yaml": load, "slipway.lock": read_lock}


@pytest.fixture(params=sorted(READERS))
def told(request, tmp_path):
    """Give a file content, and return what its reader says of it."""
    path = tmp_path / request.param

    def read(data: bytes | None = None) -> str:
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(MatrixError) as caught:
            READERS[request.param](path)
        assert caught.value.hint or "\n  hint: " in str(caught.value)
        assert len(str(caught.value)) < 5_000
        return str(caught.value).replace(str(tmp_path), "")

    read.path = path
    return read


def test_a_pipe_is_not_waited_for(told):
    os.mkfifo(told.path)
    assert "is not a regular file" in told()


def test_a_device_is_not_read(told):
    told.path.symlink_to("/dev/zero")
    assert "is not a regular file" in told()


def test_a_folder_is_not_read(told):
    told.path.mkdir()
    assert "cannot be read: " in told()


def test_a_file_that_is_too_large_is_not_read(told):
    with told.path.open("wb") as file:
        file.truncate(1 << 33)
    assert "is larger than" in told()


HOSTILE = {
    "deep nesting": b'{"version": ' + b"[" * 200_000,
    "deep nesting that is closed": b'{"version": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a number of 5,000 digits": b'{"version": ' + b"9" * 5_000 + b"}",
    "a number of 4,000 digits": b'{"version": ' + b"9" * 4_000 + b"}",
    "half of a surrogate pair": b'{"version": "\\ud800"}',
    "half of a surrogate pair in a key": b'{"\\udfff": 1}',
    "a list": b"[]",
    "a number": b"1",
    "text": b'"x"',
    "a version that is no number": b'{"version": true, "weights": {}}',
    "a version with a fraction": b'{"version": 1.0, "weights": {}}',
    "a very long key": b'{"version": 1, "' + b"k" * 100_000 + b'": 1}',
    "a very long text": b'{"version": "' + b"k" * 100_000 + b'"}',
    "bytes": bytes(range(128, 256)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_content_is_refused_with_its_place(what, told):
    begun = time.process_time()
    said = told(HOSTILE[what])
    assert time.process_time() - begun < 2
    assert f"/{told.path.name}:1:" in said, said


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "slipway.lock").write_bytes(b'\xef\xbb\xbf{"version": 1, "weights": {}}')
    assert not read_lock(tmp_path / "slipway.lock").weights


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "null\n"])
def test_an_empty_file_says_what_to_do(text, refuse):
    said = refuse(text)
    assert said.startswith("targets.yaml:1:1: the file is empty\n  hint: ")
    assert "doit init example" in said  # a folder of its own: no hint may cost somebody their recipes


def test_a_version_is_a_number_and_nothing_that_equals_it(good, refuse):
    assert refuse(good.replace("version: 1", "version: true")).startswith(
        "targets.yaml:1:10: version: `true` is not possible here\n  hint: known values: 1"
    )
    assert "version: `1.0` is not possible here" in refuse(good.replace("version: 1", "version: 1.0"))


LONG_NUMBERS = {
    "deployment_target": ("{preset: iphone}", "{preset: iphone, deployment_target: '%s.0'}"),
    "ram": ("matrix:", "devices: {phone: {gpu: apple, ram: %sGB, os: ios}}\nmatrix:"),
    "runtime_version": ("matrix:", "runtime_version: '0.%s'\nmatrix:"),
    "python": ("matrix:", "toolchains: {own: {requirements: [mlc-ai], python: '3.%s'}}\nmatrix:"),
}


@pytest.mark.parametrize("digits", [400, 5_000])
@pytest.mark.parametrize("key", LONG_NUMBERS)
def test_a_number_in_a_text_has_as_many_digits_as_somebody_writes(key, digits, good, refuse):
    before, after = LONG_NUMBERS[key]
    said = refuse(good.replace(before, after % ("9" * digits), 1))
    assert f"{key}: `" in said
    assert "` is not a" in said, "what is wrong is said, too"


def axes(count: int, more: str = "") -> str:
    models = "".join(f"  m{i}: {{factory: recipe.py:build}}\n" for i in range(count))
    backends = "".join(f"  b{i}: {{preset: iphone}}\n" for i in range(count))
    names = [", ".join(f"{axis}{i}" for i in range(count)) for axis in "mb"]
    matrix = f"matrix:\n  model: [{names[0]}]\n  backend: [{names[1]}]\n{more}"
    return f"version: 1\nmodels:\n{models}backends:\n{backends}{matrix}"


def test_a_matrix_that_nobody_could_build_is_counted_and_not_expanded(refuse):
    text = axes(4_000)
    begun = time.process_time()
    said = refuse(text)
    assert time.process_time() - begun < 3  # most of it reads the file
    assert ": matrix: 16,000,000 combinations are more than the " in said


def test_includes_and_excludes_count_too(refuse):
    many = "".join(f"    - {{model: m{i % 150}, backend: b{i // 150}}}\n" for i in range(4_000))
    assert ": matrix: " in refuse(axes(150, f"  exclude:\n{many}"))


def test_thousands_of_mistakes_are_counted_and_some_are_shown(refuse):
    begun = time.process_time()
    said = refuse("version: 1\n" + "".join(f"k{i}: 2026-01-02\n" for i in range(20_000)))
    assert time.process_time() - begun < 5
    assert "20003 problems" in said or "problems" in said.splitlines()[0]
    assert len(said) < 50_000


def test_thousands_of_unknown_keys_end(refuse):
    begun = time.process_time()
    said = refuse("version: 1\nmodels:\n" + "".join(f"  m{i}: {{k: 1}}\n" for i in range(10_000)))
    assert time.process_time() - begun < 5
    assert len(said) < 50_000


def test_a_file_of_nothing_but_merges_ends():
    lines = ["a0: &a0 {k0: 1}"]
    lines += [f"a{i}: &a{i} {{<<: *a{i - 1}, k{i}: 1}}" for i in range(1, 3_000)]
    with pytest.raises(MatrixError, match="stand for too much"):
        Document("\n".join(lines), "t")


PATHS = ["x" * 5_000, "a/" * 3_000, "\\0", "~", "/proc/self/mem", "/dev/zero/x"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["factory", "onnx", "prebuilt", "weights"])
def test_a_path_that_cannot_be_is_a_file_that_is_not_there(key, path, good, refuse):
    value = f'{{path: "{path}"}}' if key == "weights" else f'"{path}:build"' if key == "factory" else f'"{path}"'
    text = f"version: 1\nmodels:\n  m: {{{key}: {value}{', onnx: recipe.py' if key == 'weights' else ''}}}\n"
    try:
        said = refuse(text + "backends:\n  b: {preset: iphone}\nmatrix: {model: [m], backend: [b]}\n")
    except pytest.fail.Exception:  # /proc/self/mem is a file, and reading it is the step's business
        assert path == "/proc/self/mem"
    else:
        assert "targets.yaml:3:" in said


@pytest.mark.parametrize("path", ["..", "weights/../../..", "../other", ".", "weights/..", "ROOT", "/"])
def test_weights_do_not_lead_out_of_the_project_nor_hold_it(path, project: Path, refuse):
    (project / "weights").mkdir()
    text = (
        f'version: 1\nmodels:\n  m:\n    factory: recipe.py:build\n    weights: {{path: "{path}"}}\n'
        "backends:\n  b: {preset: iphone}\nmatrix: {model: [m], backend: [b]}\n"
    )
    said = refuse(text.replace("ROOT", str(project)))
    assert said.startswith("targets.yaml:5:21: models.m.weights.path: ")
    assert "\n  hint: " in said


def test_weights_beside_the_project_are_named_by_an_absolute_path(project: Path, expand):
    (project.parent / "elsewhere").mkdir()
    text = (
        "version: 1\nmodels:\n  m:\n    factory: recipe.py:build\n"
        f'    weights: {{path: "{project.parent}/elsewhere"}}\n'
        "backends:\n  b: {preset: iphone}\nmatrix: {model: [m], backend: [b]}\n"
    )
    assert expand(text).models[0].weights.path == f"{project.parent}/elsewhere"


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (os.mkfifo, "is neither a file nor a directory"),
        (lambda path: path.symlink_to("nowhere"), "is a link to a place where nothing is"),
        (lambda path: path.symlink_to("/dev/zero"), "is neither a file nor a directory"),
    ],
    ids=["pipe", "dangling link", "device"],
)
def test_a_file_of_a_model_that_is_none_is_not_waited_for(tmp_path, make, what):
    make(tmp_path / "recipe.py")
    path = tmp_path / "targets.yaml"
    path.write_text(
        "version: 1\nmodels:\n  m: {factory: recipe.py:build}\nbackends: {host: {preset: host}}\n"
        "matrix: {model: [m], backend: [host]}\n"
    )
    with pytest.raises(MatrixError, match=f"`recipe.py` {what}"):
        load(path)
