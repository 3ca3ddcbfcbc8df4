"""Step `wasm_runtime`: the TVM runtime for browsers as wasm objects, from a checkout or the toolchain's own package.

What `web/prep_emcc_deps.sh` of mlc_llm does by hand: TVM's three files under `web/emcc`, and mlc_llm's one where the
checkout is one of mlc_llm. The step `wasm` links them with a model. The checkout is only read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import roles
from pipeline.action import Facts, Job, present
from pipeline.documents.codec import dumps
from pipeline.documents.runtime import ObjectFile, WebRuntimeManifest
from pipeline.errors import StepError
from pipeline.files import digest_path
from pipeline.native import wheel
from pipeline.native.emcc import EMSCRIPTEN, Emscripten
from pipeline.native.source_tree import SourceTree, mirror, read_tree

OF_TVM = ("wasm_runtime", "tvmjs_support", "webgpu_runtime")
OF_MLC = "mlc_wasm_runtime"

_INCLUDES_OF_TVM = (
    ".",
    "include",
    "3rdparty/tvm-ffi/include",
    "3rdparty/tvm-ffi/3rdparty/dlpack/include",
    "3rdparty/dlpack/include",
    "3rdparty/compiler-rt",
)
_INCLUDES_OF_MLC = ("3rdparty/tokenizers-cpp", "3rdparty/tokenizers-cpp/include", "cpp")


@dataclass(frozen=True)
class Params:
    """What the step is given: the toolchain whose package has the sources; None for a checkout."""

    wheel: str | None = None


def run(job: Job[Params]) -> Facts:
    """Write one object a source, and `runtime.json`.

    Returns:
        Facts: `objects`, `bytes`, `emcc`.

    Raises:
        StepError: the checkout has no web runtime, or it does not compile.
        ToolMissing: there is no emscripten to build a checkout with.
    """
    if job.params.wheel is not None and job.tools.get("emcc") is None:
        # Nobody asked for more than what this machine can do: whatever needs the modules says what it lacks.
        job.write(WebRuntimeManifest.NAME, dumps(WebRuntimeManifest((), EMSCRIPTEN)))
        return {"objects": [], "bytes": 0, "lacks": EMSCRIPTEN}
    emscripten = find_emscripten(job)
    home = job.cache_dir("emcc", "checkout" if job.params.wheel is None else job.params.wheel)
    shown = home / "source"
    tree = _sources(job, shown)
    sources, includes = layout(tree)
    objects = emscripten.compile_all(
        sources,
        root=shown,
        includes=[path for path in includes if (shown / path).is_dir()],
        folder=home / "objects",
        blobs={shown / path: blob for path, (_, blob) in tree.files.items()},
        jobs=os.cpu_count() or 1,
    )
    for name, made in objects.items():
        (job.out / f"{name}.o").write_bytes(made.read_bytes())
    listed = tuple(ObjectFile(f"{name}.o", *digest_path(job.out / f"{name}.o")) for name in objects)
    job.write(WebRuntimeManifest.NAME, dumps(WebRuntimeManifest(listed)))
    return {"objects": list(objects), "bytes": sum(one.size for one in listed), "emcc": emscripten.version}


def _sources(job: Job[Params], shown: Path) -> SourceTree:
    """The sources, which can be read under `shown`."""
    if job.params.wheel is not None:
        return wheel.lay_out(wheel.ask(job, job.params.wheel), shown)
    checkout = job.tools.get(roles.CHECKOUT)
    if checkout is None:
        raise StepError("there is no checkout to build the runtime from", hint="correct `runtime.source`")
    tree = read_tree(checkout.path)
    mirror(tree, shown)
    return tree


def find_emscripten(job: Job[object]) -> Emscripten:
    """The job's emcc.

    Raises:
        ToolMissing: there is none.
    """
    what = "modules for pages are linked with emscripten, which is not installed"
    tool = present(job.tools.get("emcc"), what, EMSCRIPTEN)
    return Emscripten(tool.path, tool.version, job.log)


def layout(tree: SourceTree) -> tuple[Mapping[str, Path], list[Path]]:
    """The sources by name, and where headers may be; relative to the tree.

    Raises:
        StepError: this is no checkout of TVM, nor one of mlc_llm with TVM in it.
    """
    mlc = f"web/emcc/{OF_MLC}.cc" in tree.files
    tvm = "3rdparty/tvm/" if mlc else ""
    missing = [name for name in OF_TVM if f"{tvm}web/emcc/{name}.cc" not in tree.files]
    if missing:
        raise StepError(
            f"the checkout has no {tvm}web/emcc/{missing[0]}.cc",
            where=tree.root,
            hint="let `runtime.source` name a checkout of TVM, or one of mlc_llm with its submodules (git submodule "
            "update --init --recursive)",
        )
    sources = {name: Path(f"{tvm}web/emcc/{name}.cc") for name in OF_TVM}
    includes = [Path(tvm, path) for path in _INCLUDES_OF_TVM]
    if mlc:
        sources[OF_MLC] = Path(f"web/emcc/{OF_MLC}.cc")
        includes += map(Path, _INCLUDES_OF_MLC)
    return sources, includes
