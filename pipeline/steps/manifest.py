"""Step `manifest`: the list of everything that is shipped, with sizes and digests.

`run` calls it last, when all of `dist/` is there. A receiver can check a copy of `dist/` against it with no tool of
ours. Must not know what the files are.
"""

from __future__ import annotations

import json

from pipeline.action import Job, Json
from pipeline.errors import StepError

from .folders import files, sha256

NAME = "manifest.json"
SCHEMA = 1

_GROUPED = {"bundle": "bundle/"}
"""Kinds of work whose outputs have a directory of their own in `dist/`; all others write to `dist/<subject>`."""


def run(job: Job) -> dict[str, Json]:
    """Write `manifest.json`: `{"schema", "products", "files": [{"path", "size", "sha256"}]}`, sorted by path.

    The roles of the inputs are names of actions; each stands for the directory with that action's outputs. Several may
    own files in one directory, and a file is listed once.

    Raises:
        StepError: two actions own different files of the same path.
    """
    entries: dict[str, Json] = {}
    owners: dict[str, str] = {}
    inputs = sorted(job.inputs.items())
    for done, (role, folder) in enumerate(inputs):
        for name, path in files(folder):
            place = place_of(role) + name
            if place == NAME:
                continue
            entry = {"path": place, "size": path.stat().st_size, "sha256": sha256(path)}
            if entries.setdefault(place, entry) != entry:
                raise StepError(
                    f"{owners[place]} and {role} both write dist/{place}, and not the same bytes",
                    cure="give one of them another name in targets.yaml",
                )
            owners.setdefault(place, role)
        job.services.progress(done + 1, len(inputs), "products")
    listed = [entries[place] for place in sorted(entries)]
    document = {"schema": SCHEMA, "products": job.params["products"], "files": listed}
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (job.out / NAME).write_text(text, encoding="utf-8")
    return {"files": len(listed), "bytes": sum(entry["size"] for entry in listed)}


def place_of(action: str) -> str:
    """Where an action's outputs are in `dist/`: `bundle:m-f32` -> `bundle/m-f32/`, `linkkit:models` -> `models/`."""
    step, _, subject = action.partition(":")
    return f"{_GROUPED.get(step, '')}{subject}/"
