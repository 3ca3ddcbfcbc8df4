"""Which code stands behind a step: what it reaches by import, and what it names for a worker."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pipeline.compilers.python_imports import imported
from pipeline.engine.code import code_digest, code_files
from pipeline.engine.imports import _imports
from pipeline.engine.sources import behind
from pipeline.files import look


def names(step: str) -> set[str]:
    return {name for name, _ in code_files(f"pipeline.steps.{step}")}


def test_a_step_reaches_what_it_imports():
    assert "pipeline.binary.ar" in names("archive")
    assert "pipeline.binary.macho" in names("archive")


def test_a_compile_reaches_the_compiler_it_names_for_the_worker_and_no_archive_writer():
    reached = names("compile_relax")
    assert "pipeline.compilers.relax" in reached
    unrelated = {name for name in reached if name.startswith(("pipeline.matrix.", "pipeline.binary"))}
    assert unrelated <= {"pipeline.matrix.cells", "pipeline.matrix.source"}, (
        "values of the matrix, and nothing that reads it"
    )


def test_a_compiler_is_not_the_code_of_another_one():
    assert not {name for name in names("compile_relax") if "mlc" in name}
    assert not {name for name in names("compile_mlc") if name.endswith("relax")}
    assert "pipeline.compilers.mlc_driver" in names("compile_mlc")


def test_converting_weights_and_compiling_are_not_in_each_others_key():
    compiling = {name for name in names("compile_mlc") - names("convert") if "mlc" in name or "metallib" in name}
    assert {"pipeline.compilers.mlc", "pipeline.compilers.mlc_driver", "pipeline.compilers.metallib"} <= compiling
    converting = names("convert") - names("compile_mlc")
    assert "pipeline.steps.convert" in converting


def test_templates_are_code_of_the_kits():
    assert any(name.endswith("settings.xcconfig.j2") for name in names("linkkit"))


def test_the_wording_of_errors_is_no_code():
    assert "pipeline.errors" not in names("compile_relax")


@pytest.mark.parametrize(
    "step",
    ["weights", "params", "compile_relax", "compile_mlc", "compile_prebuilt", "archive", "linkkit", "verify"],
)
def test_no_step_knows_the_graph_the_store_or_doit(step):
    reached = names(step)
    assert not {
        name for name in reached if name.startswith(("pipeline.store", "pipeline.engine", "pipeline.doit_plugin"))
    }


def test_digests_are_stable():
    assert code_digest("pipeline.steps.archive") == code_digest("pipeline.steps.archive")
    assert code_digest("pipeline.steps.archive") != code_digest("pipeline.steps.bundle")


def test_a_recipe_is_itself_and_what_it_imports_from_beside_it(tmp_path):
    (tmp_path / "recipe.py").write_text("import json\nimport shared\nfrom parts import attention\n")
    (tmp_path / "shared.py").write_text("from deeper import x\n")
    (tmp_path / "deeper.py").write_text("x = 1\n")
    (tmp_path / "unrelated.py").write_text("")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/__init__.py").write_text("")
    (tmp_path / "parts/attention.py").write_text("from . import norm\n")
    (tmp_path / "parts/norm.py").write_text("")
    found = {str(path.relative_to(tmp_path)) for path in behind(tmp_path / "recipe.py").files}
    assert found == {
        "recipe.py", "shared.py", "deeper.py", "parts/__init__.py", "parts/attention.py", "parts/norm.py"
    }  # fmt: skip


def test_an_edit_of_imports_is_seen_at_once(tmp_path):
    (tmp_path / "recipe.py").write_text("x = 1\n")
    (tmp_path / "late.py").write_text("")
    assert len(behind(tmp_path / "recipe.py").files) == 1
    (tmp_path / "recipe.py").write_text("import late\n")
    assert len(behind(tmp_path / "recipe.py").files) == 2


def test_a_worker_function_that_moves_to_a_helper_takes_its_code_along(tmp_path, monkeypatch):
    """A step names what a worker runs by reference, so its import leads to the code wherever that is."""
    package = tmp_path / "own_steps"
    package.mkdir()
    (package / "__init__.py").touch()
    body = "def work():\n    return 1\n"
    (package / "step.py").write_text(f"{body}\ndef run(job):\n    job.services.worker('current').call(partial(work))\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {name for name, _ in code_files("own_steps.step")} == {"own_steps.step"}
    (package / "moved.py").write_text(
        "from .helper import work\n\ndef run(job):\n    job.services.worker('current').call(partial(work))\n"
    )
    (package / "helper.py").write_text(body)
    before = code_digest("own_steps.moved")
    assert "own_steps.helper" in {name for name, _ in code_files("own_steps.moved")}
    (package / "helper.py").write_text(body.replace("1", "2"))
    code_digest.cache_clear()
    assert code_digest("own_steps.moved") != before


@pytest.mark.parametrize(
    "text",
    [
        "import a\nfrom .b import (\n    c,  # why\n    d as e,\n)\ndef f():\n\timport g  # noqa\n",
        "if a: import b\n",
        "a = 1; import b; from c import d\n",
        "try: import a\nexcept E: from b import c\nelse: import d\n",
        "if a: \\\n  import b\n",
        "from a \\\n  import b\n",
        "import \\\n  a\n",
        "from a import (b,  # one (of two)\n  c)\n",
        "from a import (b,  # :)\n  c)\nfrom d import e\n",
        "from a import (b, c); import d\n",
        "import a\rimport b\r",
        "import a\r\nfrom b import (c,\r\n d)\r\n",
        "if a:\n \f import b\n",
        "from a import *\nfrom.b import c\nfrom ...import d\n",
        "lambda: 1\nmatch a:\n case 1: import b\n",
        'a = """\nfrom here on, import nothing\n"""\nimport b\n',
        "# coding: latin-1\nimport a  # \xe9\n",
        "import \N{MICRO SIGN}a\n",
        "importlib = from_ = 1\nimported = 2\n",
        "import a",
    ],
)
def test_import_statements_are_found_however_they_are_written(tmp_path, text):
    """None is missed; a parser says which there are."""
    file = tmp_path / "package" / "one.py"
    file.parent.mkdir()
    file.write_bytes(text.encode("latin-1" if "latin" in text else "utf-8"))
    assert set(_imports(file, "package.one", look(file))) == set(
        imported(ast.parse(file.read_bytes()), "package.one", package=False)
    )


def test_of_python_own_library_no_import_is_missed():
    for file in Path(ast.__file__).parent.glob("*.py"):
        wanted = imported(ast.parse(file.read_bytes()), "package.one", package=False)
        assert set(_imports(file, "package.one", look(file))) >= set(wanted), file


def test_an_import_by_a_call_is_found(tmp_path):
    (tmp_path / "other.py").write_text("")
    (tmp_path / "main.py").write_text('import importlib\nx = [importlib.import_module("other")]\n')
    assert tmp_path / "other.py" in behind(tmp_path / "main.py").files
