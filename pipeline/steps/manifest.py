"""Step `manifest`: the list of everything that is shipped, with sizes and digests, and what was proven of it.

The engine runs it last, when all of `dist/` is there and every proof is made: where one fails there is no manifest. A
receiver can check a copy of `dist/` against it with no tool of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.documents.codec import dumps
from pipeline.documents.manifest import NAME, SCHEMA, Manifest, ManifestFile, ManifestProduct, Proof
from pipeline.documents.report import read_report
from pipeline.errors import StepError
from pipeline.files import files_below


@dataclass(frozen=True)
class Params:
    """What the step is given: the products, and where in `dist/` the outputs of each action are (role -> prefix)."""

    products: tuple[ManifestProduct, ...]
    places: Mapping[str, str]


def run(job: Job[Params]) -> Facts:
    """Write `manifest.json`: `{"schema", "products", "proofs", "files": [{"path", "size", "sha256"}]}`, sorted.

    Several actions may own files in one directory, and a file is listed once. `proofs` has the line that
    each `verify` came to.

    Raises:
        StepError: two actions own different files of the same path.
    """
    entries: dict[str, ManifestFile] = {}
    owners: dict[str, str] = {}
    for done, (role, start) in enumerate(sorted(job.params.places.items())):
        for name, _ in files_below(job.inputs[role]):
            place = start + name
            if place == NAME:
                continue
            digest = job.digest_of(role, name)
            entry = ManifestFile(place, digest.size, digest.sha256)
            if entries.setdefault(place, entry) != entry:
                raise StepError(
                    f"{owners[place]} and {role} both write dist/{place}, and not the same bytes",
                    hint="give one of them another name in targets.yaml",
                )
            owners.setdefault(place, role)
        job.services.progress(done + 1, len(job.params.places), "products")
    reports = [read_report(folder) for _, folder in sorted(roles.all_of("verify", job.inputs))]
    document = Manifest(
        schema=SCHEMA,
        products=job.params.products,
        proofs=tuple(Proof(report.subject, report.proven) for report in reports),
        files=tuple(entries[place] for place in sorted(entries)),
    )
    job.write(NAME, dumps(document))
    return {"files": len(entries), "bytes": sum(entry.size for entry in entries.values())}
