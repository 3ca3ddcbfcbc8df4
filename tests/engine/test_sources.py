"""The files behind a source: what a recipe imports, or would if it were there; where an ONNX model's tensors are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.binary.protobuf import varint
from pipeline.engine import sources
from pipeline.engine.inputs import Inputs
from pipeline.store.stat_cache import StatCache


def files(path: Path) -> set[str]:
    return {file.relative_to(path.parent).as_posix() for file in sources.behind(path).files}


def digest(path: Path, role: str = "source") -> str:
    class One:
        files = {role: str(path)}  # noqa: RUF012 - a stand-in for an Action

    inputs = Inputs(path.parent, {}, workspace=None, stat_cache=StatCache(), tools=None, code=str)
    return inputs.files(One)[role]


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/inner.py").write_text("from . import near\n")
    lines = ["import helper, colorsys", "from parts import inner", "import importlib"]
    lines += ["try:\n    import fast\nexcept ImportError: pass", "def late(): importlib.import_module('plugin')"]
    (tmp_path / "recipe.py").write_text("\n".join(lines))
    return tmp_path / "recipe.py"


APPEARS = (
    "fast.py", "fast/__init__.py", "fast.so", "fast.cpython-311-x86_64-linux-gnu.so", "fast.abi3.so", "fast.pyc",
    "fast/__init__.pyc", "helper/__init__.py", "helper.so", "colorsys.py", "importlib/__init__.py", "plugin.py",
    "parts/__init__.py", "parts/near.py", "parts.py", "parts/inner/__init__.py",
)  # fmt: skip


@pytest.mark.parametrize("name", APPEARS)
def test_what_python_could_take_for_a_module_is_in_the_key_as_soon_as_it_is_there(recipe, name):
    before, watched = digest(recipe), sources.behind(recipe).folders
    path = recipe.parent / name
    assert path.parent in watched or path.parent.parent in watched, "a stamp notices it"
    path.parent.mkdir(exist_ok=True)
    path.write_text("x = 1\n")
    assert digest(recipe) != before
    assert name in files(recipe)


@pytest.mark.parametrize(
    "name", ["other.py", "__pycache__/fast.cpython-311.pyc", "fast.txt", "fast/other.py", "faster.py"]
)
def test_nothing_else_is(recipe, name):
    before = digest(recipe)
    path = recipe.parent / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("x = 1\n")
    assert digest(recipe) == before


def test_a_recipe_behind_a_link_has_its_modules_beside_the_file(tmp_path, recipe):
    link = tmp_path / "elsewhere" / "linked.py"
    link.parent.mkdir()
    link.symlink_to(recipe)
    before = digest(link)
    (recipe.parent / "helper.py").write_text("x = 1\n")
    assert digest(link) != before


def test_what_a_folder_that_is_read_imports_from_beside_it(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/a.py").write_text("import helper\n")
    before = digest(tmp_path / "parts", "source reads parts")
    (tmp_path / "helper.py").write_text("x = 1\n")
    assert digest(tmp_path / "parts", "source reads parts") != before


def test_a_folder_of_weights_is_just_its_files(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/code.py").write_text("import helper\n")
    before = digest(tmp_path / "weights", "path")
    (tmp_path / "helper.py").write_text("x = 1\n")
    assert digest(tmp_path / "weights", "path") == before


# ONNX


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def tensor(location: str) -> bytes:
    entries = field(13, field(1, b"offset") + field(2, b"0"))
    return field(8, b"weight") + entries + field(13, field(1, b"location") + field(2, location.encode()))


WHERE = {
    "an initializer": field(7, field(5, tensor("w.data"))),
    "a constant": field(7, field(1, field(5, field(5, tensor("w.data"))))),
    "a list of constants": field(7, field(1, field(5, field(10, tensor("w.data"))))),
    "a branch": field(7, field(1, field(5, field(6, field(5, tensor("w.data")))))),
    "a sparse initializer": field(7, field(15, field(1, tensor("w.data")))),
    "a function": field(25, field(7, field(5, field(5, tensor("w.data"))))),
}


@pytest.mark.parametrize("place", WHERE)
def test_the_file_with_the_tensors_of_an_onnx_model_is_in_the_key(tmp_path, place):
    model = tmp_path / "model.onnx"
    model.write_bytes(bytes([1 << 3, 9]) + WHERE[place])
    (tmp_path / "w.data").write_bytes(b"1")
    assert files(model) == {"model.onnx", "w.data"}
    before = digest(model)
    (tmp_path / "w.data").write_bytes(b"2")
    assert digest(model) != before


def model_with_data(model: Path) -> Path:
    model.write_bytes(bytes([1 << 3, 9]) + WHERE["an initializer"])
    (model.parent / "w.data").write_bytes(b"1")
    return model


@pytest.mark.parametrize("name", ["model.ONNX", "model.pb", "model", "blob.py.bin"])
def test_a_model_is_one_by_its_content_whatever_it_is_called(tmp_path, name):
    assert files(model_with_data(tmp_path / name)) == {name, "w.data"}


def test_a_model_and_its_tensors_may_be_links_into_a_cache_of_the_hub(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    model_with_data(blobs / "aaa")
    (blobs / "w.data").rename(blobs / "bbb")
    (snapshot / "model.onnx").symlink_to("../../blobs/aaa")
    (snapshot / "w.data").symlink_to("../../blobs/bbb")
    (tmp_path / "mine.onnx").symlink_to(snapshot / "model.onnx")
    for path in (snapshot / "model.onnx", tmp_path / "mine.onnx"):
        assert sources.behind(path).files == (snapshot / "model.onnx", snapshot / "w.data")
        assert sources.behind(sources.behind(path).path) == sources.Behind(
            snapshot / "model.onnx", sources.behind(path).files
        )
        before = digest(path)
        (blobs / "bbb").write_bytes(path.name.encode())
        assert digest(path) != before
    assert tmp_path in sources.behind(tmp_path / "mine.onnx").folders, "tensors beside the first link would win"


def test_a_recipe_whose_file_has_no_suffix_has_its_modules_beside_the_link(tmp_path, recipe):
    recipe.rename(tmp_path / "blob")
    recipe.symlink_to("blob")
    before = digest(recipe)
    assert "helper.py" in files(recipe)
    (recipe.parent / "helper.py").write_text("x = 1\n")
    assert digest(recipe) != before


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x3a\xff\xff\xff\xff\x0f", b"\x3a\x80", b"\xff" * 99])
def test_what_is_no_onnx_model_is_just_a_file(tmp_path, data):
    (tmp_path / "model.onnx").write_bytes(data)
    assert files(tmp_path / "model.onnx") == {"model.onnx"}
