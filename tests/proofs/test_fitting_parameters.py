"""Parameters against the functions that take them: names, order, shapes, dtypes; also where no model can run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.documents.functions import Function, Value
from pipeline.documents.parameters import Parameter, Parameters
from pipeline.proofs.parameters import by_place, check_library, check_parameters, equal_words

WEIGHT, BIAS = Value("dense.weight", "float32", (4, 3)), Value("dense.bias", "float32", (4,))
X = Value("x", "float32", ("n", 3))
HELD = Parameters((Parameter("dense.weight", (4, 3), "float32"), Parameter("dense.bias", (4,), "float32")))


def functions(*parameters: Value, packed: bool = True) -> tuple[Function, ...]:
    if packed:
        carriers = (Value("packed", "tuple", parameter=True, items=parameters),)
    else:
        carriers = tuple(replace(one, parameter=True) for one in parameters)
    return (Function("double", (X,), ()), Function("forward", (X, *carriers), ()))


def found(held: Parameters, *taken: Value, **how):
    return check_parameters("m-f32", functions(*(taken or (WEIGHT, BIAS)), **how), held)


def with_changes(number: int, **changes) -> Parameters:
    changed = list(HELD.parameters)
    changed[number] = replace(changed[number], **changes)
    return Parameters(tuple(changed))


@pytest.mark.parametrize("packed", [True, False])
def test_parameters_that_fit(packed):
    check = found(HELD, packed=packed)
    assert (check.name, check.state) == ("parameters of m-f32", "proven")
    assert check.saw == "2 parameters as forward take them"


WRONG = {
    "a transposed one": (with_changes(0, shape=(3, 4)), "takes dense.weight as float32[4, 3], and"),
    "another dtype": (with_changes(1, dtype="float16"), "takes dense.bias as float32[4], and dense.bias is float16[4]"),
    "another rank": (with_changes(1, shape=(4, 1)), "is float32[4, 1]"),
    "another name": (with_changes(1, name="dense.bais"), "takes dense.bias, which the source did not give"),
    "a missing one": (Parameters(HELD.parameters[:1]), "takes dense.bias, which the source did not give"),
    "none": (Parameters(()), "takes dense.weight, dense.bias, which the source did not give"),
    "another order": (Parameters(HELD.parameters[::-1]), "in this order, and is given dense.bias, dense.weight"),
}  # fmt: skip


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("case", WRONG)
def test_parameters_that_do_not_fit(case, packed):
    held, saw = WRONG[case]
    check = found(held, packed=packed)
    assert check.state == "failed"
    assert saw in check.saw
    assert "mapping" in check.hint


def test_parameters_that_have_no_name_in_common_are_not_found_by_a_kit():
    nameless = [replace(one, name=f"packed_{number}") for number, one in enumerate((WEIGHT, BIAS))]
    assert found(HELD, *nameless).state == "failed"
    assert "takes packed_0, packed_1, which the source did not give" in found(HELD, *nameless).saw


@pytest.mark.parametrize("packed", [True, False])
def test_names_that_were_given_by_place_are_told(packed):
    forward = replace(functions(WEIGHT, BIAS, packed=packed)[1], by_place=("w0", "w1"))
    assert by_place([forward]) == ("parameters by place: dense.weight is w0, dense.bias is w1", None)
    alike = replace(functions(WEIGHT, replace(WEIGHT, name="other"), packed=packed)[1], by_place=("w0", "w1"))
    assert by_place([alike])[1] == "dense.weight and other fit each other's place in forward"
    assert by_place(functions(WEIGHT, WEIGHT)) is None


def test_a_symbol_is_one_extent():
    vocabulary = Value("embed", "float32", ("v", 3)), Value("head", "float32", (3, "v"))
    right = Parameters((Parameter("embed", (9, 3), "float32"), Parameter("head", (3, 9), "float32")))
    assert found(right, *vocabulary).state == "proven"
    wrong = Parameters((Parameter("embed", (9, 3), "float32"), Parameter("head", (3, 8), "float32")))
    assert found(wrong, *vocabulary).state == "failed"


def test_what_no_function_takes():
    spare = Parameters((*HELD.parameters, Parameter("spare", (1,), "float32")))
    assert found(spare).saw.endswith("taken by none: spare")
    assert check_parameters("m-f32", functions(), HELD).state == "not proven"
    assert check_parameters("m-f32", functions(), Parameters(())) is None


def test_equal_parameters_are_named():
    assert equal_words(HELD) is None
    assert (
        equal_words(replace(HELD, equal=(("a", "b"), ("c", "d", "e", "f")))) == "equal parameters: a = b, c and 3 more"
    )


def test_a_library_finds_its_parameters_by_name_in_any_order():
    held = Parameters((Parameter("spare", (1,), "int32"), *reversed(HELD.parameters)))
    assert check_library("m", (WEIGHT, BIAS), held).state == "proven"
    assert check_library("m", (replace(WEIGHT, shape=None),), held).state == "proven"
    assert check_library("m", (WEIGHT,), Parameters(())).state == "not proven"


@pytest.mark.parametrize("changes", [{"name": "other"}, {"shape": (3, 4)}, {"dtype": "float16"}])
def test_a_library_whose_weights_do_not_fit(changes):
    check = check_library("m", (WEIGHT, BIAS), with_changes(0, **changes))
    assert (check.state, "dense.weight" in check.saw) == ("failed", True)
