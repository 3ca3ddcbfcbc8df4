"""Has a copy of this process find something out while this one goes on.

`snapshot` has it look at files while doit and the session are being loaded. It may be called before there are threads,
and knows nothing of what is found out.
"""

from __future__ import annotations

import marshal
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

Found = TypeVar("Found")


def is_possible() -> bool:
    """Whether a copy would be of use, and not inherit locks that another thread holds."""
    return sys.platform == "linux" and threading.active_count() == 1 and len(os.sched_getaffinity(0)) > 1


class Aside(Generic[Found]):
    """Something that is being found out.

    Args:
        find: says it, as something that `marshal` can carry. It must not change anything.
    """

    def __init__(self, find: Callable[[], Found]) -> None:
        self._find = find
        self._answer, theirs = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            status = 1
            try:
                os.close(self._answer)  # so that it is known here when nobody listens any more
                with open(theirs, "wb") as file:  # noqa: PTH123
                    file.write(marshal.dumps(find()))  # type: ignore[arg-type] # as asked
                status = 0
            finally:
                os._exit(status)  # what else there is belongs to the process that this one is a copy of
        os.close(theirs)

    def result(self) -> Found:
        """What was found out: here and now, where the copy died."""
        with open(self._answer, "rb") as file:  # noqa: PTH123
            data = file.read()
        status: Any = None
        with suppress(ChildProcessError):
            status = os.waitpid(self._pid, 0)[1]
        if status != 0:
            return self._find()
        found: Found = marshal.loads(data)  # noqa: S302 - from a copy of ourselves, through a pipe nobody else has
        return found
