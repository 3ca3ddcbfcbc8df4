"""Step `product`: what is shipped of a product or a model, put together and listed, once everything of it is proven.

The engine runs it after the proofs, whose reports are inputs: where one fails there is none, and `dist/` keeps what it
has. It reads nothing but reports: digests are in the key, and files are linked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline import roles
from pipeline.action import Job
from pipeline.documents.codec import dumps, load
from pipeline.documents.link_json import LinkJson
from pipeline.documents.manifest import SCHEMA, Manifest, ManifestFile, ManifestProduct, Proof
from pipeline.documents.report import Report
from pipeline.documents.run import Run, summary
from pipeline.errors import StepError
from pipeline.files import digest_path
from pipeline.platforms import unportable


@dataclass(frozen=True)
class Params:
    """What the step is given: the product that it lists; None for a model's bundle, which an app ships as it is."""

    product: ManifestProduct | None


def run(job: Job[Params]) -> dict[str, object]:
    """Put the files of all parts into one directory, and `manifest.json` beside those of a product.

    `link.json` gets what was measured when the models in the product were run.

    Raises:
        StepError: two parts have different files of the same path, or a path is none on every system.
    """
    ran = [Run.read(folder) for _, folder in sorted(roles.all_of(roles.CHECK, job.inputs))]
    runs = tuple(one for one in map(summary, ran) if one is not None)
    entries: dict[str, ManifestFile] = {}
    owners: dict[str, str] = {}
    spelled: dict[str, str] = {}
    for part, _ in sorted(roles.all_of(roles.PART, job.inputs)):
        for name, made in job.files(roles.part(part)):
            path, digest = made, job.digest_of(roles.part(part), name)
            if name == LinkJson.NAME and runs:
                path = job.out / name
                job.write(name, dumps(replace(load(LinkJson, made), runs=runs)))
                digest = digest_path(path)
            entry = ManifestFile(name, digest.size, digest.sha256)
            if (why := unportable(name)) or (other := spelled.setdefault(name.casefold(), name)) != name:
                raise StepError(
                    f"{part} writes {name!a}, which {why or f'differs from {other} in upper and lower case alone'}",
                    hint="give it another name, for whoever unpacks it on another system",
                )
            if name not in entries:
                entries[name], owners[name] = entry, part
                job.adopt(name, path, digest)
            elif entries[name] != entry:
                raise StepError(
                    f"{owners[name]} and {part} both write {name}, and not the same bytes",
                    hint="give one of them another name in targets.yaml",
                )
    if job.params.product is not None:
        reports = [Report.read(folder) for _, folder in sorted(roles.all_of("verify", job.inputs))]
        document = Manifest(
            schema=SCHEMA,
            products=(job.params.product,),
            proofs=tuple(Proof(report.subject, report.proven) for report in reports),
            files=tuple(entries[name] for name in sorted(entries)),
        )
        job.write(Manifest.NAME, dumps(document))
    return {"files": len(entries), "bytes": sum(entry.size for entry in entries.values())}
