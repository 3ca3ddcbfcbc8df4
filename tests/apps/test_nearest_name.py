"""The name that an app was probably meant to ask for, when the one it asks for is not there."""

from __future__ import annotations

import pytest

from pipeline.apps.verdicts import nearest_name

NOW = "qwen3_q4f16_1_37d26ba247cc02f647af18ad629c48d2_"
LATER = "qwen3_q4f16_1_0000000047cc02f647af18ad629c48d2_"
LLAMA = "llama_q4f16_1_d44304359a2802d16aa168086928bcad_"
UNLIKE = "qwen3_q4f16_1_f7b1c0de9e5a3b8d11402c6f8a9e7d65_"


@pytest.mark.parametrize(
    ("asked", "others", "meant"),
    [
        (UNLIKE, [NOW], NOW),  # of an older build: only the digest differs, and all of it
        ("qwen3_q4f16_1_old_", [NOW, LLAMA], NOW),
        ("qwen3_q4f16_1_", [LLAMA, NOW], NOW),
        (NOW[:-2] + "0_", [LATER, NOW], NOW),
        (NOW, [LLAMA], None),
        ("qwen3_q0f32_", ["scorer_f32_"], None),
        ("tiny_model_x_", ["tiny_model_b_", "other_"], "tiny_model_b_"),
        (NOW, [], None),
    ],
)
def test_the_nearest(asked, others, meant):
    assert nearest_name(asked, others) == meant
