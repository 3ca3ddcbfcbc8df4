"""A model that pools over an open length: on Android, dlight's rule makes a kernel of it that TVM does not compile."""

import numpy as np
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op

SIZE = 64


class Pool(nn.Module):
    def __init__(self):
        self.dense = nn.Linear(SIZE, SIZE)

    def forward(self, x, mask):
        return op.matmul(mask, self.dense(x))


def build(spec):
    x, mask = nn.spec.Tensor([1, "s", SIZE], "float32"), nn.spec.Tensor([1, 1, "s"], "float32")
    module, named = Pool().export_tvm(
        spec={"forward": {"x": x, "mask": mask, "$": {"param_mode": "packed", "effect_mode": "none"}}}
    )
    made = np.random.Generator(np.random.PCG64(3))
    return module, {name: made.standard_normal([int(n) for n in p.shape]).astype("float32") for name, p in named}
