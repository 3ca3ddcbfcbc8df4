"""Parameters: taken from a recipe one at a time, and refused with a place where they are not what they should be."""

from __future__ import annotations

import json

import pytest
from compiled_models import TINY, Compiled, model

from pipeline.compilers import tensor_cache
from pipeline.errors import FormatError, StepError

pytestmark = [pytest.mark.tvm, pytest.mark.usefixtures("warm")]

RECIPE = """
import json
import os
from pathlib import Path
import numpy as np
from tvm.relax.frontend import nn

class M(nn.Module):
    def forward(self, x):
        return x

def read(name, folder):
    if name == "bad":
        raise KeyError(name)
    (folder / "order.txt").open("a").write(name + " ")
    return np.full(4, ord(name[0]), "uint8")

def build(spec):
    module = M().export_tvm(spec={"forward": {"x": nn.spec.Tensor([1], "float32")}})[0]
    folder = Path(__file__).parent
    names = spec.options["names"]
    lazy = {name: lambda name=name: read(name, folder) for name in names}
    return module, {"each": lazy, "all": lambda: lazy, "wrong": lambda: names}[spec.options["given"]]
"""


@pytest.fixture
def made(tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(RECIPE)

    def make(given, *names):
        described = model("lazy", "f32", {"given": given, "names": names})
        return Compiled(tmp_path, recipe, described)

    return make


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("given", ["each", "all"])
def test_functions_are_called_when_written_and_not_when_compiled(tmp_path, made, given):
    compiled = made(given, "b", "a", "c")
    compiled.compile("x86_64-linux-gnu")
    assert not (tmp_path / "order.txt").exists()
    found = tensor_cache.read(compiled.parameters())
    assert (tmp_path / "order.txt").read_text() == "b a c "
    assert {name: bytes(array) for name, array in found.items()} == {"b": b"bbbb", "a": b"aaaa", "c": b"cccc"}


def test_names_are_known_while_compiling_where_each_is_a_function(tmp_path):
    compiled = Compiled(tmp_path, TINY, model("tiny", "f32"))
    out = compiled.compile("x86_64-linux-gnu")
    forward = json.loads((out / "functions.json").read_text())["functions"][1]
    names = [item["name"] for item in forward["arguments"][1]["items"]]
    assert names == list(tensor_cache.read(compiled.parameters()))


def test_a_parameter_that_cannot_be_read_is_placed(tmp_path, made):
    compiled = made("each", "a", "bad")
    with pytest.raises(StepError, match="raised KeyError: 'bad'") as caught:
        compiled.parameters()
    line = RECIPE.splitlines().index("        raise KeyError(name)") + 1
    assert str(caught.value.where) == f"{tmp_path / 'recipe.py'}:{line}"


def test_parameters_that_are_no_mapping(tmp_path, made):
    with pytest.raises(StepError, match="the parameters are a list"):
        made("wrong", "a").parameters()


def test_a_parameter_of_a_wrong_kind(tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(RECIPE.replace('np.full(4, ord(name[0]), "uint8")', "'text'"))
    compiled = Compiled(tmp_path, recipe, model("lazy", "f32", {"given": "each", "names": ["a"]}))
    with pytest.raises(FormatError, match="parameter 'a' is a str"):
        compiled.parameters()
