"""Whatever is put into a matrix file, the answer is a matrix or a MatrixError with a place in the file."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import yaml
from example_targets import GOOD
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import MatrixError
from pipeline.matrix.expand import load

WHOLE = (
    GOOD
    + """
  exclude: [{model: minilm-f16, backend: ios}]
  include: [{model: decoder, backend: web}]
products:
  kit: {kind: xcframework, backends: [ios]}
toolchains:
  t: {requirements: [x], pre: true}
"""
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["ios", "minilm", "t"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


PLACES = [path for path in places(yaml.safe_load(WHOLE)) if path]


def check(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "targets.yaml")
        path.write_text(text, encoding="utf-8")
        Path(directory, "recipe.py").touch()
        try:
            matrix = load(path)
        except MatrixError as error:
            assert re.search(r"targets\.yaml:\d+:\d+: .+\n  hint: .+", str(error))  # noqa: PT017 - either way is fine
        else:
            assert len({cell.subject for cell in matrix.cells}) == len(matrix.cells) > 0


@given(place=st.sampled_from(PLACES), value=json_values)
def test_any_value_in_any_place(place, value):
    whole = yaml.safe_load(WHOLE)
    inner = whole
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    check(yaml.safe_dump(whole, allow_unicode=True))


@given(
    start=st.integers(0, len(WHOLE)),
    length=st.integers(0, 12),
    text=st.text(st.sampled_from("{}[]:,&*!|>'\"% \n-#ab1"), max_size=4),
)
def test_any_slip_of_the_fingers(start, length, text):
    check(WHOLE[:start] + text + WHOLE[start + length :])
