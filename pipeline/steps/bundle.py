"""Step `bundle`: what a model needs beside its library at run time, in one directory an app can ship.

The engine runs it for each model variant: the tensor cache, and the tokenizer and configuration files of its weights.
Nothing is copied or read: parameters are gigabytes, and their digests are in the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.documents.chat_config import NAME as CHAT_CONFIG
from pipeline.errors import StepError
from pipeline.matrix.cells import ModelRef
from pipeline.weights import checkpoint


@dataclass(frozen=True)
class Params:
    """What the step is given: the model, and patterns of the files that an app needs of its weights.

    `shipped` tells whether an app gets the parameters from here.
    """

    model: ModelRef
    files: tuple[str, ...]
    shipped: bool = False


def run(job: Job[Params]) -> Facts:
    """Put the parameters, and those files of the weights that match a pattern, into one directory.

    A pattern that matches nothing is fine, since one list serves many kinds of tokenizer; an empty bundle is not.

    Raises:
        StepError: nothing to ship, two sources that hold different files of one name, or a checkpoint that no app
            could load.
    """
    config = job.inputs.get(roles.WEIGHTS, job.out) / CHAT_CONFIG
    # The config and the files of its tokenizer that an app loads, whatever the patterns say.
    listed = (CHAT_CONFIG, *checkpoint.tokenizer_files(config)) if config.is_file() else ()
    patterns = (*job.params.files, *listed)
    chosen: dict[str, str] = {}
    if roles.PARAMS in job.inputs:
        chosen.update((name, roles.PARAMS) for name, _ in job.files(roles.PARAMS))
    matched: set[str] = set()
    if roles.WEIGHTS in job.inputs:
        for name, _ in job.files(roles.WEIGHTS):
            hits = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
            if not hits:
                continue
            matched.update(hits)
            other = chosen.setdefault(name, roles.WEIGHTS)
            if other != roles.WEIGHTS and job.digest_of(other, name) != job.digest_of(roles.WEIGHTS, name):
                raise StepError(
                    f"{name} is in the parameters and in the weights of {job.params.model.subject}, and differs",
                    hint=f"narrow the patterns of its bundle ({', '.join(hits)}) so that {name} is taken once",
                )
    if not chosen:
        raise StepError(
            f"nothing to bundle for {job.params.model.subject}: it has no parameters, and none of its files "
            f"matches {', '.join(patterns) or 'the empty list of patterns'}",
            hint="name the files an app needs in the model's `bundle`",
        )
    if CHAT_CONFIG in chosen:
        ours = frozenset(name for name, role in chosen.items() if role == roles.PARAMS)
        files = {name: job.inputs[role] / name for name, role in chosen.items()}
        checkpoint.check(job.params.model.subject, files, shipped=job.params.shipped, ours=ours)
    size = 0
    for name, role in chosen.items():
        digest = job.digest_of(role, name)
        job.adopt(name, job.inputs[role] / name, digest)
        size += digest.size
    return {"files": len(chosen), "bytes": size, "unmatched": sorted(set(patterns) - matched)}
