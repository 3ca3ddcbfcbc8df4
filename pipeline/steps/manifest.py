"""Step `manifest`: the list of everything that is shipped, with sizes and digests, and what was proven of it.

`run` calls it last, when all of `dist/` is there and every proof is made: where one fails there is no manifest. A
receiver can check a copy of `dist/` against it with no tool of ours. Must not know what the files are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.action import Job, Json
from pipeline.errors import StepError

from .folders import files, sha256

NAME = "manifest.json"
SCHEMA = 1

PROOF, REPORT = "verify:", "report.json"
"""Roles of proofs, and the file that each of them has."""

_GROUPED = {"bundle": "bundle/"}
"""Kinds of work whose outputs have a directory of their own in `dist/`; all others write to `dist/<subject>`."""


def run(job: Job[Any]) -> dict[str, Json]:
    """Write `manifest.json`: `{"schema", "products", "proofs", "files": [{"path", "size", "sha256"}]}`, sorted.

    The roles of the inputs are names of actions; each stands for the directory with that action's outputs. Several may
    own files in one directory, and a file is listed once. `proofs` has the line that each `verify` came to.

    Raises:
        StepError: two actions own different files of the same path.
    """
    entries: dict[str, Json] = {}
    owners: dict[str, str] = {}
    proofs = [_proof(folder / REPORT) for role, folder in sorted(job.inputs.items()) if role.startswith(PROOF)]
    inputs = sorted((role, folder) for role, folder in job.inputs.items() if not role.startswith(PROOF))
    for done, (role, folder) in enumerate(inputs):
        for name, path in files(folder):
            place = place_of(role) + name
            if place == NAME:
                continue
            entry = {"path": place, "size": path.stat().st_size, "sha256": sha256(path)}
            if entries.setdefault(place, entry) != entry:
                raise StepError(
                    f"{owners[place]} and {role} both write dist/{place}, and not the same bytes",
                    hint="give one of them another name in targets.yaml",
                )
            owners.setdefault(place, role)
        job.services.progress(done + 1, len(inputs), "products")
    listed = [entries[place] for place in sorted(entries)]
    document = {"schema": SCHEMA, "products": job.params["products"], "proofs": proofs, "files": listed}
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    job.write(NAME, text)
    return {"files": len(listed), "bytes": sum(entry["size"] for entry in listed)}


def _proof(report: Path) -> Json:
    """What one `verify` came to: `{"subject", "proven"}`."""
    found = json.loads(report.read_text(encoding="utf-8"))
    return {"subject": found["subject"], "proven": found["proven"]}


def place_of(action: str) -> str:
    """Where an action's outputs are in `dist/`: `bundle:m-f32` -> `bundle/m-f32/`, `linkkit:models` -> `models/`."""
    step, _, subject = action.partition(":")
    return f"{_GROUPED.get(step, '')}{subject}/"
