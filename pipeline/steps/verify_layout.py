"""Step `verify` for a product of kind `layout`: whether its tree has what was proven.

The engine runs it after `layout`. The questions are in `pipeline.proofs.layouts`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.documents.archive import Archive
from pipeline.documents.manifest import ModelFile
from pipeline.documents.runtime import Modules
from pipeline.files import Digest
from pipeline.kits.link_flags import RUNTIME_LIBRARIES
from pipeline.matrix.cells import FilePlacement
from pipeline.proofs.layouts import Layout, check_layout

from .layout import Params
from .verify import Findings, bundle_digests, product_library, prove


def run(job: Job[Params]) -> Facts:
    """Prove a layout; see `prove`."""
    return prove(job, job.params.product, _ask)


def _ask(job: Job[Params], scratch: Path) -> Findings:  # noqa: ARG001 - nothing is linked again
    """Ask whether the tree has what was proven, and nothing else."""
    params, backends = job.params, {one.name: one for one in job.params.backends}
    described = {name: Archive.read(job.inputs[roles.archive(name)]) for name in backends}
    modules = {
        (one.subject, name): Digest(one.sha256, one.size)
        for name, folder in roles.all_of("wasm", job.inputs)
        for one in Modules.read(folder).modules
    }
    layout = Layout(
        folder=job.inputs[roles.KIT],
        product=params.product,
        libraries={name: product_library(job, backend) for name, backend in backends.items()},
        members={(model.subject, name): model.members for name, one in described.items() for model in one.models},
        modules=modules,
        runtime=params.runtime_libraries or RUNTIME_LIBRARIES,
        bundles=bundle_digests(job),
        files={one.task: _digests(job, one) for one in params.files or ()},
        digest_of=partial(job.digest_of, roles.KIT),
    )
    wanted = {(one.subject, one.backend): one.owner for one in params.placements}
    checks = [*check_layout(layout, wanted)]
    return Findings(checks, "; ".join(one.saw for one in checks))


def _digests(job: Job[Params], place: FilePlacement) -> tuple[Digest, ...]:
    """What the outputs of a task hash to, as the key has it: all of those that are laid out."""
    role = roles.of(roles.LAID_OUT, place.task)
    names = [name for name, _ in job.files(role) if not place.alone or name != ModelFile.NAME]
    return tuple(job.digest_of(role, name) for name in names)
