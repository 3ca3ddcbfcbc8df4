"""Constant indices: from the end as numpy counts them, and never beside the tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import Compiled, model
from fake_worker import run_forked

from pipeline.errors import StepError

pytestmark = [pytest.mark.tvm, pytest.mark.usefixtures("warm")]

RECIPE = """\
import tvm
from tvm import relax


def build(spec):
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((tvm.tirx.Var("n", "int64"), 4), "float32"))
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(relax.op.take(x, relax.const(-1, "int64"), axis=0)))
    return builder.get(), {}
"""

X = np.arange(12, dtype="float32").reshape(3, 4)


def gathered(*, operator: str, index: Any, axis: int | None = None, shape: Any = (3, 4)) -> tuple[bool, Any]:
    """In a process with TVM: whether a module with that operator was changed, and what it makes of X."""
    import tvm
    from tvm import relax

    from pipeline.compilers.indices import from_the_beginning

    builder = relax.BlockBuilder()
    extents = [tvm.tirx.Var("n", "int64") if extent is None else extent for extent in shape]
    x = relax.Var("x", relax.TensorType(extents, "float32"))
    constant = relax.const(np.array(index), "int64")
    with builder.function("main", [x]):
        with builder.dataflow():
            if operator == "index_tensor":
                call = relax.op.index_tensor(x, [relax.const(np.array(one), "int64") for one in index])
            elif operator == "gather_nd":
                call = relax.op.gather_nd(x, constant)
            else:
                call = getattr(relax.op, operator)(x, constant, axis=axis)
            out = builder.emit_output(call)
        builder.emit_func_output(out)
    given = builder.get()
    module = from_the_beginning(given, Path("model.py"))
    machine = relax.VirtualMachine(relax.build(module, "llvm"), tvm.cpu())
    return module is not given, machine["main"](tvm.runtime.tensor(X)).numpy().tolist()


@pytest.mark.parametrize(
    ("told", "want"),
    [
        ({"operator": "take", "index": -1, "axis": 1}, X[:, -1]),
        ({"operator": "take", "index": [-3, 2], "axis": 0}, X[[-3, 2]]),
        ({"operator": "take", "index": -1, "axis": -1, "shape": (None, 4)}, X[:, -1]),
        ({"operator": "index_tensor", "index": [[-1, 0], [-2, 0]]}, X[[-1, 0], [-2, 0]]),
        ({"operator": "gather_elements", "index": [[-1, 0, 0, 0]], "axis": 0}, [[8, 1, 2, 3]]),
    ],
)
def test_an_index_from_the_end(told, want, tmp_path):
    assert run_forked([(gathered, told)], tmp_path / "log") == [True, np.asarray(want).tolist()]


def test_it_is_done_to_what_a_source_gives(tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(RECIPE)
    with pytest.raises(StepError, match="with the index -1") as caught:
        Compiled(tmp_path, recipe, model("last", "f32")).compile("x86_64-linux-gnu")
    assert str(caught.value.where).endswith("recipe.py")


def test_other_indices_are_left_alone(tmp_path):
    told = {"operator": "take", "index": [1, 2], "axis": 1}
    assert run_forked([(gathered, told)], tmp_path / "log") == [False, X[:, 1:3].tolist()]


@pytest.mark.parametrize(
    "told",
    [
        {"operator": "take", "index": -5, "axis": 1},
        {"operator": "take", "index": 4, "axis": 1},
        {"operator": "take", "index": -1, "axis": 0, "shape": (None, 4)},
        {"operator": "gather_nd", "index": [[-1, -1]]},
    ],
)
def test_an_index_beside_the_tensor(told, tmp_path):
    with pytest.raises(
        StepError, match=r"^model.py: with the index -?\d, TVM's relax\.\w+ reads what is beside the tensor"
    ):
        run_forked([(gathered, told)], tmp_path / "log")
