"""Parameters: taken from a recipe one at a time, and refused with a place where they are not what they should be."""

from __future__ import annotations

import json

import pytest
from compiled_models import TINY, Compiled, model

from pipeline.compilers import tensor_cache
from pipeline.documents.parameters import Parameters
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


MODEL = """
import numpy as np
from tvm.relax.frontend import nn
from pipeline.compilers.recipe import SameAs

class M(nn.Module):
    def __init__(self):
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
    def forward(self, x):
        return self.two(self.one(x))

def tensor(name, shape):
    return np.random.Generator(np.random.PCG64(len(name) + ord(name[0]))).uniform(-1, 1, shape).astype("float32")

def build(spec):
    how = {"param_mode": spec.options.get("mode", "packed"), "effect_mode": "none"}
    module, named = M().export_tvm(spec={"forward": {"x": nn.spec.Tensor([1, 4], "float32"), "$": how}})
    shapes = {name: tuple(int(n) for n in parameter.shape) for name, parameter in named}
    GIVEN
"""
RIGHT = "return module, {name: lambda name=name: tensor(name, shapes[name]) for name in shapes}"
GIVEN = {
    "late": "return module, {name: lambda: tensor('x', (4, 4) if 'weight' in name else (4,)) for name in shapes}",
    "same": "return module, {n: tensor('one' if len(s) > 1 else n, s) for n, s in shapes.items()}",
    "declared": "return module, {n: tensor(n, s) for n, s in shapes.items()} | {'two.weight': SameAs('one.weight')}",
    "zeros": "return module, {n: np.zeros(s, 'float32') if 'bias' in n else tensor(n, s) for n, s in shapes.items()}",
    "order": "return module, {n: tensor(n, shapes[n]) for n in sorted(shapes, reverse=True)}",
    "name": "return module, {n.replace('weight', 'wieght'): tensor(n, s) for n, s in shapes.items()}",
    "few": "return module, {n: tensor(n, s) for n, s in list(shapes.items())[:3]}",
    "other names": "return module, {f'w{i}': tensor(n, s) for i, (n, s) in enumerate(shapes.items())}",
}  # fmt: skip


def given(tmp_path, how, mode="packed"):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(MODEL.replace("GIVEN", GIVEN.get(how, RIGHT)))
    return Compiled(tmp_path, recipe, model("pair", "f32", {"mode": mode}))


@pytest.mark.parametrize("how", ["late", "same"])
def test_two_parameters_with_equal_numbers_are_refused(tmp_path, how):
    with pytest.raises(StepError, match="are equal, byte for byte") as caught:
        given(tmp_path, how).parameters()
    assert "lambda name=name" in caught.value.hint
    assert "SameAs" in caught.value.hint


@pytest.mark.parametrize("how", ["right", "declared", "zeros"])
def test_parameters_that_may_be_equal(tmp_path, how):
    out = given(tmp_path, how).parameters()
    written = Parameters.read(out)
    assert [one.name for one in written.parameters] == ["one.weight", "one.bias", "two.weight", "two.bias"]
    assert written.equal == ((("one.bias", "two.bias"),) if how == "zeros" else ())
    held = tensor_cache.read(out)
    assert (held["one.weight"] == held["two.weight"]).all() == (how == "declared")


@pytest.mark.parametrize("mode", ["packed", "plain"])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("order", "in another order than the module takes them: two.weight in place of one.weight"),
        ("name", "takes a parameter 'one.weight' that the source does not give"),
        ("few", "takes a parameter 'two.bias' that the source does not give"),
    ],
)
def test_names_that_are_not_those_of_the_module_are_refused_at_the_compile(tmp_path, how, message, mode):
    message = message if mode == "plain" or "takes a" not in message else message.replace(".", "_")
    with pytest.raises(StepError) as caught:
        given(tmp_path, how, mode).compile("x86_64-linux-gnu")
    assert message in caught.value.what


TWICE = """
import numpy as np
from tvm.relax.frontend import nn

class M(nn.Module):
    def __init__(self):
        self.w = nn.ParameterList([nn.Parameter((4,), "float32") for _ in range(12)])
    def first(self, x):
        return sum((x * w for w in self.w), x)
    def second(self, x):
        return sum((x + w for w in self.w), x)

def build(spec):
    how = {"param_mode": spec.options["mode"], "effect_mode": "none"}
    told = {name: {"x": nn.spec.Tensor([4], "float32"), "$": how} for name in ("first", "second")}
    module, named = M().export_tvm(spec=told)
    names = [name for name, _ in named]
    if spec.options.get("swapped"):
        names[0], names[1] = names[1], names[0]
    return module, {name: (lambda i=i: np.full(4, i, "float32")) for i, name in enumerate(names)}
"""


@pytest.mark.parametrize("mode", ["packed", "plain"])
def test_what_a_second_function_calls_a_parameter_is_its_name_and_a_number(tmp_path, mode):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(TWICE)
    out = Compiled(tmp_path, recipe, model("twice", "f32", {"mode": mode})).compile("x86_64-linux-gnu")
    functions = json.loads((out / "functions.json").read_text())["functions"]
    assert [(one["name"], one.get("by_place")) for one in functions] == [("first", None), ("second", None)]
    (tmp_path / "other").mkdir()
    swapped = Compiled(tmp_path / "other", recipe, model("twice", "f32", {"mode": mode, "swapped": True}))
    with pytest.raises(StepError, match="in another order than the module takes them"):
        swapped.compile("x86_64-linux-gnu")


def test_names_of_which_the_module_has_none_go_by_their_place(tmp_path):
    out = given(tmp_path, "other names").compile("x86_64-linux-gnu")
    (forward,) = json.loads((out / "functions.json").read_text())["functions"]
    assert [item["name"] for item in forward["arguments"][1]["items"]] == ["w0", "w1", "w2", "w3"]
    assert len(forward["by_place"]) == 4, "what the module calls them, for the table"
