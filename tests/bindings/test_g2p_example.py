"""`examples/g2p`: parts of a model in one archive, called from Rust two crates away, and any system library instead."""

from __future__ import annotations

import numpy as np
import pytest
from example_projects import cargo_in, host_only, told_by
from projects import Project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def g2p(tmp_path_factory) -> Project:
    """The example for this machine alone, built; and its smoke test."""
    project = host_only("g2p", tmp_path_factory.mktemp("g2p"))
    project.ok("targets=smoke.yaml", timeout=900)
    return project


GREEDY = """
import json, sys
import numpy as np
sys.path.insert(0, "recipes")
import g2p
said = {}
for word in sys.argv[1:]:
    ids = np.zeros((1, 64), "int64")
    ids[0, :len(word)] = np.frombuffer(word.encode(), "uint8") + 3
    mask = (ids > 0).astype("int64")
    hidden, past, token, said[word] = g2p.encoder_in_numpy(ids, mask), np.zeros((2, 1, g2p.HEADS, 128, g2p.SIZE)), 0, []
    for position in range(7):
        logits, _, _, *past = g2p.decoder_in_numpy(np.array([[token]]), hidden, mask, position, *past)
        token = int(np.argmax(logits))
        said[word].append(token)
print(json.dumps(said))
"""


def test_the_program_two_crates_away_says_what_numpy_says(g2p, runtime):
    wanted = told_by(g2p, GREEDY, "Char", "siu")
    assert len({tuple(ids) for ids in wanted.values()}) == len(wanted)
    said = cargo_in(
        g2p, "run", "-p", "g2p_cli", "--", "../dist/bundle", "Char", "siu",
        G2P_TVM_RUNTIME_LIB=runtime["tvm_runtime"],
    )  # fmt: skip
    assert said == "".join(f"{word}: {ids}\n" for word, ids in wanted.items())


def test_the_metadata_has_the_keys_that_the_notes_have(g2p):
    assert g2p.json("dist/g2p/system_lib_metadata.json") == {
        "archive": "libg2p_system_lib.a",
        "prefix_base": "g2p_",
        "prefixes": {part: f"g2p_{part}_" for part in ("decoder_prefill", "decoder_step", "encoder")},
        "checkpoint": "charsiu/g2p_multilingual_byT5_tiny_8_layers_100",
        "batch_size": 1,
        "max_input_bytes": 64,
        "max_output_len": 128,
        "use_kv_cache": True,
        "target": "llvm",
        "output_ext": "so",
    }


def test_one_and_a_half_becomes_two_and_a_half_through_a_system_library(g2p, runtime):
    said = cargo_in(
        g2p, "test", "-p", "g2p_tvm", "system_lib_smoke", "--", "--nocapture",
        G2P_TVM_RUNTIME_LIB=runtime["tvm_runtime"],
        G2P_TVM_SYSTEM_LIB=g2p.path("dist/smoke/host/libg2p_test.a"),
        G2P_TVM_SYSTEM_LIB_PREFIX="g2p_test_",
    )  # fmt: skip
    assert "1.5 -> 2.5" in said


def test_parts_agree_about_the_weights_they_share(g2p):
    caches = [g2p.path(f"dist/bundle/decoder_{part}-default") for part in ("prefill", "step")]
    shards = [np.frombuffer((cache / "params_shard_0.bin").read_bytes(), "uint8") for cache in caches]
    assert shards[0].size > 0
    assert np.array_equal(*shards)
