"""Step `manifest`: the list of everything that is shipped, with sizes and digests, and what was proven of it.

The engine runs it last, when all products are in `dist/` and every proof is made. A receiver can check a copy of
`dist/` against it with no tool of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.documents.codec import dumps
from pipeline.documents.manifest import (
    SCHEMA,
    Manifest,
    ManifestDevice,
    ManifestFile,
    ManifestProduct,
    ModelFile,
    Proof,
    Takes,
)
from pipeline.documents.memory import Memory, Option, of_built
from pipeline.documents.report import Report


@dataclass(frozen=True)
class Params:
    """What the step is given.

    Attributes:
        places: where in `dist/` the outputs of each action are (role -> prefix).
        models: roles of the bundles of models that are files for other runtimes.
        devices: all that are defined, with what models take as targets.yaml and slipway.lock have it.
        measured: device -> the cells for it whose memory was computed.
    """

    products: tuple[ManifestProduct, ...]
    places: Mapping[str, str]
    models: tuple[str, ...] | None = None
    devices: tuple[ManifestDevice, ...] | None = None
    measured: Mapping[str, tuple[Option, ...]] | None = None


def run(job: Job[Params]) -> Facts:
    """Write `manifest.json`: `{"schema", "products", "proofs", "files": [{"path", "size", "sha256"}]}`, sorted.

    `proofs` has the line that each `verify` came to, `models` what each model is that was not compiled, `devices` what
    models take of the devices of targets.yaml.
    """
    files: list[ManifestFile] = []
    for done, (role, start) in enumerate(sorted(job.params.places.items())):
        for name, _ in job.files(role):
            digest = job.digest_of(role, name)
            files.append(ManifestFile(start + name, digest.size, digest.sha256))
        job.services.progress(done + 1, len(job.params.places), "products")
    reports = [Report.read(folder) for _, folder in sorted(roles.all_of("verify", job.inputs))]
    document = Manifest(
        schema=SCHEMA,
        products=job.params.products,
        proofs=tuple(Proof(report.subject, report.proven) for report in reports),
        files=tuple(sorted(files, key=lambda file: file.path)),
        models=tuple(ModelFile.read(job.inputs[role]) for role in job.params.models or ()) or None,
        devices=tuple(_known(job, one) for one in job.params.devices or ()) or None,
    )
    job.write(Manifest.NAME, dumps(document))
    return {"files": len(files), "bytes": sum(file.size for file in files)}


def _known(job: Job[Params], device: ManifestDevice) -> ManifestDevice:
    """The device, with what was computed of the models for it."""
    takes = list(device.takes)
    for option in (job.params.measured or {}).get(device.name, ()):
        need = of_built(Memory.read(job.inputs[roles.of(roles.MEMORY, option.cell)]))
        takes.append(Takes(option.model, option.backend, need.bytes, need.at_least))
    return replace(device, takes=tuple(takes))
