"""What a toolchain's entry in targets.yaml asks for, as JSON: for keys, for slipway.lock, for the name of a directory.

`plan` and `environment` call it. Pure: no file is looked at.
"""

from __future__ import annotations

from pipeline.matrix.cells import Toolchain

WITHOUT_LIBRARY = "SKIP_LOADING_MLCLLM_SO"
"""What tells mlc_llm not to load its C++ library."""


def is_made(toolchain: Toolchain) -> bool:
    """Whether its environment is ours to make; otherwise it is the user's, or the Python that runs us."""
    return toolchain.path is None and bool(toolchain.requirements or toolchain.python is not None)


def spec(toolchain: Toolchain) -> dict[str, object]:
    """What decides what is installed."""
    return {
        "requirements": list(toolchain.requirements),
        "find_links": list(toolchain.find_links),
        "pre": toolchain.pre,
        "python": toolchain.python,
    }
