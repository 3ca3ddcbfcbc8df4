"""Places in a table are those that were put into it, however few or many of them are looked up."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.store import places
from pipeline.store.places import Places

KEYS = st.integers(0, 40).map(lambda n: hashlib.sha256(b"%d" % n).hexdigest()) | st.sampled_from(
    ["", "rubbish", "AB" * 32, "ab " * 21 + "a", "0" * 62, "\ufffd" * 64, "0" * 64, "f" * 64]
)


@given(st.dictionaries(KEYS, st.integers(0, 2**64 - 1)), st.lists(KEYS), st.dictionaries(KEYS, st.integers(0, 9)))
@pytest.mark.parametrize("few", [0, 3, 100])
def test_as_a_dictionary(few, known, asked, later):
    first = Places()
    for key, place in known.items():
        first.set(key, place)
    found = Places(*first.packed())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "FEW", few)
        assert [found.get(key) for key in asked] == [known.get(key) for key in asked]
        for key in asked[:3]:
            found.drop(key)
            known.pop(key, None)
        for key, place in later.items():
            found.set(key, place)
        known |= later
        assert {key: found.get(key) for key in {*asked, *known}} == {key: known.get(key) for key in {*asked, *known}}
        assert dict(found.in_order()) == known
        assert dict(Places(*found.packed()).in_order()) == known
        assert [place for _, place in found.in_order()] == sorted(known.values())
