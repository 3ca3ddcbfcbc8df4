"""What a `dodo.py` imports: doit's configuration and the one task creator. It knows nothing of building.

Importing it is all that most calls do: where a plain `doit` finds nothing changed since the last complete run, the
process ends here, before doit makes a single task (see `snapshot`). So nothing heavy may be imported at the top.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from . import snapshot


def _jobs() -> int:
    """Heavy work is done in child processes, one a thread of doit: as many as there are processors to run them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if snapshot.is_plain_run(sys.argv[1:]):
    found = snapshot.compare(snapshot.targets_path(sys.argv[1:]))
    if found is not None and not found.changed:
        sys.stdout.write(found.snapshot.said)
        sys.exit(0)
    if found is not None:
        snapshot.FOUND.append(found)


def _config() -> dict[str, Any]:
    from .reports.reporter import Reporter  # noqa: PLC0415 - only when there is something to report
    from .tasks import ContentChecker  # noqa: PLC0415

    return {
        "backend": "slipway",
        "check_file_uptodate": ContentChecker,
        "reporter": Reporter,
        "num_process": _jobs(),
        "par_type": "thread",
        "verbosity": 0,
        "action_string_formatting": "new",
    }


DOIT_CONFIG = _config()


def task_slipway() -> Iterator[dict[str, Any]]:
    """Every action of the matrix as a doit task."""
    from doit.exceptions import InvalidDodoFile  # noqa: PLC0415

    from . import session  # noqa: PLC0415
    from .errors import SlipwayError  # noqa: PLC0415
    from .tasks import tasks  # noqa: PLC0415

    try:
        opened = session.current()
        yield from tasks(opened.engine, opened.names)
    except SlipwayError as error:
        # doit prints the text of this one, and no traceback.
        raise InvalidDodoFile(str(error)) from None
