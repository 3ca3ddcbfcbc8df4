"""ONNX files and torch.export programs: read, compiled, run, and refused with a hint; skipped without the package."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from compiled_models import Compiled, host_triple, link, model

from pipeline.compilers import tensor_cache
from pipeline.compilers.judge import judge
from pipeline.compilers.reference import check_of, read_onnx
from pipeline.errors import StepError, ToolMissing

pytestmark = [pytest.mark.tvm, pytest.mark.usefixtures("warm")]

CHECK = """
import numpy as np
from pathlib import Path
from pipeline.compilers.recipe import Comparison
def check(session):
    data = np.load(Path(__file__).parent / "data.npz")
    got = session.call("main", data["x"])
    yield Comparison("main", got[0] if isinstance(got, list) else got, data["want"], 1e-5)
"""


def verify(compiled: Compiled, x, want) -> None:
    np.savez(compiled.folder / "data.npz", x=x, want=want)
    (compiled.folder / "check.py").write_text(CHECK)
    objects = compiled.compile(host_triple())
    recipe = compiled.folder / "check.py"
    (result,) = compiled.check(link(objects), objects, compiled.parameters(), recipe=recipe)
    assert result.passed, result


def onnx_file(path: Path, operator: str = "Relu", ends: tuple[str, str] = ("x", "z")):
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    made = np.random.Generator(np.random.PCG64(5))
    weight = made.standard_normal((6, 4)).astype("float32")
    x, z = ends
    nodes = [helper.make_node("MatMul", [x, "weight"], ["y"]), helper.make_node(operator, ["y"], [z])]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", size]) for name, size in ((x, 6), (z, 4))]
    graph = helper.make_graph(nodes, "tiny", ends[:1], ends[1:], [numpy_helper.from_array(weight, "weight")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return weight


def test_an_onnx_model_gives_its_numbers(tmp_path):
    weight = onnx_file(tmp_path / "tiny.onnx")
    reads = [tmp_path / "data.npz"]
    compiled = Compiled(tmp_path, tmp_path / "tiny.onnx", model("tiny", "onnx"), kind="onnx", reads=reads)
    x = np.linspace(-1, 1, 18, dtype="float32").reshape(3, 6)
    verify(compiled, x, np.maximum(x @ weight, 0))
    assert list(tensor_cache.read(tmp_path / "params")) == ["weight"]


def test_the_tensors_of_an_onnx_model_may_lie_in_a_cache(tmp_path):
    """There they are links, or have a second name; the package reads neither."""
    onnx_file(tmp_path / "whole.onnx")
    onnx = pytest.importorskip("onnx")
    (tmp_path / "hub").mkdir()
    onnx.save(
        onnx.load(tmp_path / "whole.onnx"), tmp_path / "hub/blob", save_as_external_data=True, location="w.data",
        size_threshold=0,
    )  # fmt: skip
    (tmp_path / "hub/w.data").rename(tmp_path / "hub/other")
    (tmp_path / "tiny.onnx").symlink_to("hub/blob")
    (tmp_path / "w.data").symlink_to("hub/other")
    linked = [one.raw_data for one in read_onnx(tmp_path / "tiny.onnx", {}).graph.initializer]
    assert linked == [one.raw_data for one in onnx.load(tmp_path / "whole.onnx").graph.initializer] != [b""]
    os.truncate(tmp_path / "hub/other", 8)
    with pytest.raises(StepError, match="bytes before the tensor 'weight' does"):
        read_onnx(tmp_path / "tiny.onnx", {})


@pytest.mark.parametrize("location", ["../w.data", "/etc/hostname", ""])
def test_the_tensors_of_an_onnx_model_are_beside_it(tmp_path, location):
    onnx_file(tmp_path / "tiny.onnx")
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tmp_path / "tiny.onnx")
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (tmp_path / "tiny.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StepError, match="which is not beside it"):
        read_onnx(tmp_path / "tiny.onnx", {})


def saved(path: Path, nodes, outputs, parameters, inputs=()):
    """A model of x, float32[4, 4]."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    x = helper.make_tensor_value_info("x", kinds.FLOAT, [4, 4])
    held = [onnx.numpy_helper.from_array(value, name) for name, value in parameters.items()]
    given = [
        x,
        *(helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in held if one.name in inputs),
    ]
    graph = helper.make_graph([helper.make_node(*one[:3], **one[3]) for one in nodes], "tiny", given, outputs, held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def proven(folder: Path):
    compiled = Compiled(folder, folder / "tiny.onnx", model("tiny", "onnx"), kind="onnx")
    objects = compiled.compile(host_triple())
    results = compiled.check(link(objects), objects, compiled.parameters(), check=None, reference="onnx")
    return results, compiled.outcome.control


def test_a_parameter_that_older_exporters_list_among_the_inputs(tmp_path):
    onnx = pytest.importorskip("onnx")
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4, 4])
    nodes = [("MatMul", ["x", "w"], ["v"], {}), ("Mul", ["v", "scale"], ["y"], {})]
    parameters = {"w": np.eye(4, dtype="float32"), "scale": np.array(3, "float32")}
    saved(tmp_path / "tiny.onnx", nodes, [y], parameters, inputs=parameters)
    results, control = proven(tmp_path)
    assert all(one.passed for one in results)
    assert control == "weights", "a number alone is a weight, too"


def test_an_extent_of_minus_one_is_known_only_at_the_call(tmp_path):
    """Some exporters write it where ONNX has no number or a name."""
    onnx_file(tmp_path / "tiny.onnx")
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tmp_path / "tiny.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = -1
    onnx.save(model, tmp_path / "tiny.onnx")
    results, control = proven(tmp_path)
    assert ([one.passed for one in results], control) == ([True], "weights")


def test_which_elements_are_not_zero_depends_on_the_inputs(tmp_path):
    onnx = pytest.importorskip("onnx")
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT64, [2, None])
    saved(tmp_path / "tiny.onnx", [("NonZero", ["x"], ["y"], {})], [y], {})
    assert proven(tmp_path)[1] == "inputs"


def test_a_sequence_is_compared_with_nothing_and_said(tmp_path):
    onnx = pytest.importorskip("onnx")
    y = onnx.helper.make_tensor_sequence_value_info("y", onnx.TensorProto.FLOAT, [4, 4])
    saved(tmp_path / "tiny.onnx", [("SequenceConstruct", ["x", "x"], ["y"], {})], [y], {})
    with pytest.raises(ToolMissing, match="the output y is no tensor"):
        check_of("onnx", tmp_path / "tiny.onnx", {})


def test_small_values_beside_large_ones_are_held_to_a_tolerance_of_their_own(tmp_path):
    """A detector gives coordinates and probabilities in one tensor."""
    onnx = pytest.importorskip("onnx")
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4, 8])
    nodes = [("Mul", ["x", "big"], ["boxes"], {}), ("Softmax", ["x"], ["scores"], {"axis": 1})]
    nodes.append(("Concat", ["boxes", "scores"], ["y"], {"axis": 1}))
    saved(tmp_path / "tiny.onnx", nodes, [y], {"big": np.array([640], "float32")})
    check = check_of("onnx", tmp_path / "tiny.onnx", {})

    class Right:
        wrong = 0.0

        def call(self, _function, x):
            scores = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) + self.wrong
            return np.concatenate([640 * x, scores], axis=1)

    assert [judge(one).passed for one in check(Right())] == [True, True]
    Right.wrong = 0.05
    assert [judge(one).passed for one in check(Right())] == [True, False]


def test_the_option_shapes_names_the_open_extents_of_an_onnx_model(tmp_path):
    onnx_file(tmp_path / "tiny.onnx")
    asked = model("tiny", "onnx", {"shapes": {"x": ["rows", 6]}})
    compiled = Compiled(tmp_path, tmp_path / "tiny.onnx", asked, kind="onnx")
    described = json.loads((compiled.compile(host_triple()) / "functions.json").read_text())
    assert described["functions"][0]["arguments"][0]["shape"] == ["rows", 6]


def test_a_name_in_shapes_is_the_extent_of_that_name_in_the_file(tmp_path):
    """TVM alone has two extents `n` then, and does not know the rank of what comes out of both."""
    onnx = pytest.importorskip("onnx")
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 6]) for name in ("x", "y", "z")]
    nodes = [onnx.helper.make_node("Add", ["x", "y"], ["sum"]), onnx.helper.make_node("Identity", ["sum"], ["z"])]
    graph = onnx.helper.make_graph(nodes, "tiny", ends[:2], ends[2:])
    onnx.save(
        onnx.helper.make_model(graph, ir_version=9, opset_imports=[onnx.helper.make_opsetid("", 17)]),
        tmp_path / "tiny.onnx",
    )
    compiled = Compiled(
        tmp_path, tmp_path / "tiny.onnx", model("tiny", "onnx", {"shapes": {"x": ["n", 6]}}), kind="onnx"
    )
    (main,) = json.loads((compiled.compile(host_triple()) / "functions.json").read_text())["functions"]
    assert [one["shape"] for one in (*main["arguments"], *main["returns"])] == [["n", 6]] * 3


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"xx": ["rows", 6]}, "it has no input `xx`, which `shapes` names"),
        ({"x": ["rows"]}, "its input `x` has 2 dimensions, and `shapes` says 1"),
    ],
)
def test_shapes_that_do_not_fit_the_model(tmp_path, shapes, message):
    onnx_file(tmp_path / "tiny.onnx")
    with pytest.raises(StepError, match=message):
        read_onnx(tmp_path / "tiny.onnx", {"shapes": shapes})


def test_the_operator_that_tvm_gave_up_at_is_named(tmp_path):
    onnx = pytest.importorskip("onnx")
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4, 4])
    saved(tmp_path / "tiny.onnx", [("MatMul", ["x", "w"], ["y"], {})], [y], {"w": np.zeros((3, 3), "float32")})
    with pytest.raises(StepError, match="ONNX front end refused it at MatMul for `y`: "):
        Compiled(tmp_path, tmp_path / "tiny.onnx", model("tiny", "onnx"), kind="onnx").compile("x86_64-linux-gnu")


def test_the_names_of_an_onnx_model_stay(tmp_path):
    onnx_file(tmp_path / "tiny.onnx", ends=("input.1", "z/probabilities"))
    compiled = Compiled(tmp_path, tmp_path / "tiny.onnx", model("tiny", "onnx"), kind="onnx")
    (main,) = json.loads((compiled.compile(host_triple()) / "functions.json").read_text())["functions"]
    assert [one["name"] for one in main["arguments"]] == ["input.1", "weight"]
    assert [one["name"] for one in main["returns"]] == ["z/probabilities"]


def test_an_operator_tvm_does_not_know(tmp_path):
    onnx_file(tmp_path / "tiny.onnx", operator="NoSuchOperator")
    with pytest.raises(StepError, match=r"ONNX front end refused it: .*NoSuchOperator") as caught:
        Compiled(tmp_path, tmp_path / "tiny.onnx", model("tiny", "onnx"), kind="onnx").compile("x86_64-linux-gnu")
    assert "factory" in caught.value.hint


def test_a_file_that_is_no_onnx_model(tmp_path):
    pytest.importorskip("onnx")
    (tmp_path / "tiny.onnx").write_bytes(b"not a model")
    with pytest.raises(StepError, match="not a readable ONNX model"):
        Compiled(tmp_path, tmp_path / "tiny.onnx", model("tiny", "onnx"), kind="onnx").compile("x86_64-linux-gnu")


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch warns of what TVM's front end calls in it
def test_a_torch_program_gives_its_numbers(tmp_path):
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.GELU(), torch.nn.Linear(5, 4)).eval()
    x = torch.linspace(-1, 1, 18).reshape(3, 6)
    torch.export.save(torch.export.export(network, (x,)), tmp_path / "tiny.pt2")
    reads = [tmp_path / "data.npz"]
    compiled = Compiled(tmp_path, tmp_path / "tiny.pt2", model("tiny", "torch"), kind="exported", reads=reads)
    verify(compiled, x.numpy(), network(x).detach().numpy())
    names = ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert list(tensor_cache.read(tmp_path / "params")) == names


def test_a_torch_program_that_writes_into_its_input_is_compared_with_what_it_was_given(tmp_path):
    torch = pytest.importorskip("torch")

    class Network(torch.nn.Module):
        def forward(self, x):
            return x.add_(1) * 2

    torch.export.save(torch.export.export(Network().eval(), (torch.ones(3, 6),)), tmp_path / "tiny.pt2")

    class Right:
        def call(self, _function, x):
            return (x + 1) * 2

    checked = list(check_of("exported", tmp_path / "tiny.pt2", {})(Right()))
    assert [judge(one).passed for one in checked] == [True, True]


@pytest.mark.parametrize("value", [3, 1.5, None])
def test_a_torch_program_that_takes_or_gives_something_else_than_tensors(tmp_path, value):
    torch = pytest.importorskip("torch")

    class Takes(torch.nn.Module):
        def forward(self, x, k):
            return x if k is None else x * k

    class Gives(torch.nn.Module):
        def forward(self, x):
            return x * 2, value

    torch.export.save(torch.export.export(Takes(), (torch.ones(3, 6), value)), tmp_path / "tiny.pt2")
    with pytest.raises(StepError, match="its input k is no tensor") as caught:
        Compiled(tmp_path, tmp_path / "tiny.pt2", model("tiny", "torch"), kind="exported").compile("x86_64-linux-gnu")
    assert "torch.tensor" in caught.value.hint
    torch.export.save(torch.export.export(Gives(), (torch.ones(3, 6),)), tmp_path / "tiny.pt2")
    with pytest.raises(ToolMissing, match="an output of this program is no tensor") as lacking:
        check_of("exported", tmp_path / "tiny.pt2", {})
    assert "check" in lacking.value.hint


def test_a_file_that_is_no_torch_program(tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "tiny.pt2").write_bytes(b"not a model")
    with pytest.raises(StepError, match=r"not a torch\.export program"):
        Compiled(tmp_path, tmp_path / "tiny.pt2", model("tiny", "torch"), kind="exported").compile("x86_64-linux-gnu")


@pytest.mark.parametrize(("kind", "package"), [("onnx", "onnx"), ("exported", "torch")])
def test_a_missing_package_is_named(tmp_path, kind, package):
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    (tmp_path / "model").write_bytes(b"")
    with pytest.raises(ToolMissing, match=f"needs {package}") as caught:
        Compiled(tmp_path, tmp_path / "model", model("tiny", "f32"), kind=kind).compile("x86_64-linux-gnu")
    assert f"slipway-tvm[{package}]" in caught.value.hint


def prove(compiled: Compiled) -> list[dict]:
    """Compile, link and compare with what the model's own file computes."""
    objects = compiled.compile(host_triple())
    given = {"recipe": compiled.recipe, "check": None, "reference": compiled.source["kind"]}
    return compiled.check(link(objects), objects, compiled.parameters(), **given)


@pytest.mark.parametrize("without", [None, "onnxruntime"])
def test_an_onnx_model_is_compared_with_what_its_file_computes(tmp_path, monkeypatch, without):
    onnx_file(tmp_path / "tiny.onnx")
    if without:
        monkeypatch.setitem(sys.modules, without, None)
    (result,) = prove(Compiled(tmp_path, tmp_path / "tiny.onnx", model("tiny", "onnx"), kind="onnx"))
    assert result.passed, result
    assert 0 < result.atol < 0.01
    assert result.elements == 8
    if without:
        assert result.name == "z (onnx.reference)"


def test_wrong_parameters_of_an_onnx_model_are_seen(tmp_path):
    weight = onnx_file(tmp_path / "tiny.onnx")
    compiled = Compiled(tmp_path, tmp_path / "tiny.onnx", model("tiny", "onnx"), kind="onnx")
    objects = compiled.compile(host_triple())
    (tmp_path / "wrong").mkdir()
    tensor_cache.write([("weight", weight * 1.01)], tmp_path / "wrong")
    given = {"recipe": compiled.recipe, "check": None, "reference": "onnx"}
    (result,) = compiled.check(link(objects), objects, tmp_path / "wrong", **given)
    assert not result.passed


def test_an_onnx_model_that_nobody_can_run(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [3]) for name in ("x", "y")]
    nodes = [helper.make_node("Log", ["x"], ["l"]), helper.make_node("Sqrt", ["l"], ["y"])]  # of numbers below 1
    graph = helper.make_graph(nodes, "nan", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "x.onnx")
    with pytest.raises(ToolMissing, match="does not say what this model computes") as caught:
        prove(Compiled(tmp_path, tmp_path / "x.onnx", model("tiny", "onnx"), kind="onnx"))
    assert "check" in caught.value.hint


def torch_file(path: Path, forward, *inputs) -> None:
    torch = pytest.importorskip("torch")

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = torch.nn.Linear(6, 5)

        def forward(self, x):
            return forward(self.dense(x))

    torch.export.save(torch.export.export(Network().eval(), (torch.ones(3, 6),)), path)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_torch_program_is_compared_with_what_torch_computes(tmp_path):
    torch_file(tmp_path / "tiny.pt2", lambda y: (y.tanh(), y.sum(-1)))
    results = prove(Compiled(tmp_path, tmp_path / "tiny.pt2", model("tiny", "torch"), kind="exported"))
    assert [result.passed for result in results] == [True] * 4  # two outputs of the example, two of noise


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_index_from_the_end_is_read_as_torch_reads_it(tmp_path):
    torch_file(tmp_path / "tiny.pt2", lambda y: y[:, -1])
    results = prove(Compiled(tmp_path, tmp_path / "tiny.pt2", model("tiny", "torch"), kind="exported"))
    assert all(result.passed for result in results)
