"""What a `dodo.py` imports: doit's configuration and the one task creator.

A plain `doit` that finds nothing changed since the last complete run does not come here (see `commands.run`).
"""

from __future__ import annotations

from collections.abc import Iterator

from doit.task import Task


def _config() -> dict[str, object]:
    from .doit_plugin.tasks import ContentChecker  # noqa: PLC0415
    from .engine.memory import processors  # noqa: PLC0415
    from .reports.reporter import Reporter  # noqa: PLC0415 - only when there is something to report

    return {
        "backend": "slipway",
        "dep_file": "build/doit.json",  # what doit knows of other tasks than ours
        "check_file_uptodate": ContentChecker,
        "reporter": Reporter,
        "num_process": processors(),
        "par_type": "thread",
        "verbosity": 0,
        "action_string_formatting": "new",
        "forget_disable_default": True,  # `doit forget` without a task asks which, where doit's own would crash
    }


DOIT_CONFIG = _config()


def task_slipway() -> Iterator[Task]:
    """Every action of the matrix as a doit task."""
    from .doit_plugin.session import current  # noqa: PLC0415
    from .doit_plugin.tasks import tasks  # noqa: PLC0415

    yield from tasks(current().engine)
