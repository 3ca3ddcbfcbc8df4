"""Are the models of an archive of TVMs that one runtime can serve, and can the one that targets.yaml declares?

The step `archive` asks before it writes anything: an app would find out at load, or crash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from pipeline.binary import abi
from pipeline.binary.object_info import ObjectInfo
from pipeline.binary.symbols import GENERATIONS, defined, undefined
from pipeline.errors import StepError


def check_generations(members: Mapping[str, Sequence[ObjectInfo]], runtime_version: str | None) -> None:
    """Compare what models ask of a runtime.

    Args:
        members: model -> its objects.
        runtime_version: the release of TVM that targets.yaml declares; None where it does not.

    Raises:
        StepError: no runtime has what two of them ask for, or the declared one lacks something.
    """
    asked = {model: _asked(infos) for model, infos in members.items()}
    for first, second in combinations(asked, 2):
        if abi.servers(asked[first] | asked[second]).is_empty:
            raise StepError(
                f"no runtime of TVM can serve both {first} and {second}: {first} is of "
                f"{abi.age_of_objects(asked[first])}; {second} is of {abi.age_of_objects(asked[second])}",
                hint="compile both with one TVM, that of the runtime; or get the older one from its maker again",
            )
    if runtime_version is not None:
        for model, names in asked.items():
            _check_declared(model, names, runtime_version)


def _check_declared(model: str, asked: frozenset[str], version: str) -> None:
    if missing := abi.lacking(asked, version):
        raise StepError(
            f"{model} does not run on TVM {abi.said(version)}, the `runtime_version` of targets.yaml: it is of "
            f"{abi.age_of_objects(asked)}; and that runtime has no {', no '.join(missing)}",
            hint=f"{_cure(asked)}; or correct `runtime_version`",
        )


def _cure(asked: frozenset[str]) -> str:
    serving = abi.servers(asked)
    compile_again = "compile the model with the TVM of the runtime"
    return (
        compile_again if serving.is_empty else f"{compile_again}, or give the app a runtime of {abi.releases(serving)}"
    )


def _asked(infos: Sequence[ObjectInfo]) -> frozenset[str]:
    """What tells the age of objects: C names that they need, and how the blob among them is spelt."""
    suffixes = [one.blob_suffix for one in GENERATIONS]
    blobs = {suffix for name in defined(infos) for suffix in suffixes if name.endswith(suffix)}
    return frozenset(abi.known(undefined(infos) | blobs))
