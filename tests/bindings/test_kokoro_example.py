"""`examples/kokoro`: a pipeline of four parts with static shapes, called from Rust with the constants of its types."""

from __future__ import annotations

import json

import numpy as np
import pytest
from example_projects import cargo_in, host_only, told_by
from projects import Project

from pipeline.store.action_result import INLINED_BYTES

pytestmark = pytest.mark.slow

SPEAK = """
import json, sys
import numpy as np
sys.path.insert(0, "recipes")
import kokoro
text, audio = 32, 96
phonemes = [16, 43, 54, 156, 83]
ids, style = np.zeros((1, text), "int64"), np.full((1, 24), 0.25)
ids[0, :5] = phonemes
said, (durations, features) = kokoro.text_encoder(ids), kokoro.duration(ids, style)
frames = [at for at in range(5) for _ in range(int(max(np.floor(durations[0, at] + 0.5), 1)))][:audio]
asr, en = np.zeros((2, 1, kokoro.CHANNELS, audio))
asr[:, :, :len(frames)] = said[:, :, frames]
en[:, :, :len(frames)] = features.transpose(0, 2, 1)[:, :, frames]
samples = kokoro.decoder(asr, *kokoro.f0n(en, style), style)[0, :kokoro.HOP * len(frames)]
print(json.dumps([len(samples), samples[:4].tolist()]))
"""


@pytest.fixture(scope="module")
def kokoro(tmp_path_factory) -> Project:
    return host_only("kokoro", tmp_path_factory.mktemp("kokoro"))


def test_rust_speaks_the_samples_that_numpy_computes(kokoro, runtime):
    count, first = told_by(kokoro, SPEAK)
    said = cargo_in(kokoro, "run", "--", "../dist/bundle", KOKORO_TVM_RUNTIME_LIB=runtime["tvm_runtime"])
    number, _, samples = said.partition(" ")
    assert int(number) == count
    assert np.abs(np.array(json.loads(samples)) - first).max() < 1e-5


def test_the_bundle_is_no_second_copy_of_the_parameters(kokoro):
    linked = []
    for part in ("text_encoder", "duration", "f0n", "decoder"):
        made = kokoro.path(f"build/params/{part}-default/params_shard_0.bin").stat()
        shipped = kokoro.path(f"dist/bundle/{part}-default/params_shard_0.bin").stat()
        if made.st_size > INLINED_BYTES:  # what is smaller travels inside its result
            assert (made.st_dev, made.st_ino) == (shipped.st_dev, shipped.st_ino)
            linked.append(part)
    assert linked
