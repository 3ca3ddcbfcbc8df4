"""`functions.json`: the functions of one compiled model. Compiles write it; `archive` and the host's checks read it.

An entry is `{"name", "args": [{"name", "shape", "dtype"}, ...], "returns": [...], ...}`; what is in it depends on the
compiler, and on what a prebuilt library says of itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.errors import FormatError

NAME = "functions.json"


def read_functions(folder: Path) -> tuple[Any, ...]:
    """The functions in the output directory of a compile.

    Raises:
        FormatError: the file is malformed.
    """
    path = folder / NAME
    try:
        return tuple(json.loads(path.read_bytes())["functions"])
    except (ValueError, LookupError, TypeError) as error:
        raise FormatError("it does not list functions", where=path) from error
