"""Finds out what a toolchain can do: versions, code generators, whether its Metal matmul rule works, its mlc_llm.

`pipeline.steps.toolchain` calls it inside that toolchain's worker, each function in a child of its own: importing TVM
or mlc_llm may fail, or crash. A list of versions would be wrong soon: the same TVM works or crashes with the tvm-ffi
beside it. Every answer goes into `probe.json`, and so into keys.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import platform
import re
import sys
import traceback
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from pipeline.documents.probe import MlcProbe, Versions
from pipeline.errors import SlipwayError
from pipeline.files import sha256_bytes
from pipeline.process import run
from pipeline.toolchains.spec import read_marker

from .mlc_environment import allow_missing_library, find_program
from .reasons import reason

_FAMILY = "mlc-llm"
"""Nightly packages carry their kind in their name: `mlc-llm-nightly-cpu`."""


def versions() -> Versions:
    """Return the versions of the interpreter and its compilers, and the kinds of device they generate code for."""
    import tvm
    import tvm_ffi

    start, known = "target.build.", tvm_ffi.registry.list_global_func_names()
    return Versions(
        python=platform.python_version(),
        tvm=tvm.__version__,
        tvm_library=library_version(),
        tvm_ffi=tvm_ffi.__version__,
        mlc_llm=_mlc_version(),
        codegens=tuple(sorted(name.removeprefix(start) for name in known if name.startswith(start))),
    )


def library_version() -> str | None:
    """Return the version of TVM's C++ library, which writes it into everything it saves; None where it does not say."""
    import tvm

    saved = json.loads(tvm.ir.save_json(tvm.runtime.convert([1])))
    notes = saved.get("metadata") or saved.get("attrs") or {}  # the second is how it was until 0.21
    version = notes.get("tvm_version")
    return None if version is None else str(version)


def compiles() -> bool:
    """Compile one small matmul for this machine; called in a forked child, it shows that forking is safe here."""
    from tvm import relax

    relax.build(_matmuls(("float32",)), "llvm")
    return True


def metal_simdgroup() -> bool:
    """Compile two small matmuls for Metal with dlight's own rules; return whether that gave simdgroup code.

    Call it with a CPU limit: in some pairs of TVM and tvm-ffi this crashes, in others it takes 18 s to fail or to work.
    f16 shows whether the rule works, f32, which the rule has always refused, whether refusing is cheap.
    """
    from tvm import relax
    from tvm.target import Target

    target = Target({"kind": "metal", "host": {"kind": "llvm", "mtriple": "arm64-apple-ios14.0"}})
    try:
        with target:
            module = relax.get_default_pipeline(target)(_matmuls(("float16", "float32")))
        relax.build(module, target, relax_pipeline=None)
    except Exception:  # noqa: BLE001 - whatever it is, the rule does not work; the log has the reason
        traceback.print_exc()
        return False
    return "simdgroup" in module.script()


def _matmuls(dtypes: tuple[str, ...]) -> object:
    """Return a module with one function per dtype that multiplies two matrices."""
    from tvm import relax

    builder = relax.BlockBuilder()
    for dtype in dtypes:
        left, right = (relax.Var(name, relax.TensorType((128, 128), dtype)) for name in ("left", "right"))
        with builder.function(f"matmul_{dtype}", [left, right]):
            with builder.dataflow():
                product = builder.emit_output(relax.op.matmul(left, relax.op.permute_dims(right)))
            builder.emit_func_output(product)
    return builder.finalize()


def mlc_llm(*, on_path: bool) -> MlcProbe | None:
    """What there is of mlc_llm; None where there is nothing. `on_path`: a program on PATH will do.

    It does for the Python that runs doit. A program that is no package of this Python cannot be asked what it knows;
    its version is the digest of its file.
    """
    found = importlib.util.find_spec("mlc_llm")
    if found is not None and found.origin is not None:
        return _package(Path(found.origin).parent)
    kind = "program" if find_program("program") or not on_path else "path"
    program = find_program(kind)
    if program is None:
        return None
    digest = sha256_bytes(program.read_bytes())[:16]
    return MlcProbe(kind, digest, commit=None, architectures=None, quantizations=None, error=None)


def installed() -> list[str]:
    """What the environment consists of, as exact requirements: what we made it of, or else all that is in it."""
    made = read_marker(Path(sys.prefix))
    if made is not None:
        return list(made.frozen)
    found: dict[str, str] = {}
    for one in metadata.distributions():
        name = (one.metadata.get_all("Name") or [""])[0]
        if name:
            found.setdefault(name.lower().replace("_", "-"), f"{name}=={one.version}")
    return [found[name] for name in sorted(found) if name not in {"pip", "setuptools", "wheel"}]


def _package(folder: Path) -> MlcProbe:
    version = _mlc_version()
    answer = MlcProbe("package", version, _commit(folder), architectures=None, quantizations=None, error=None)
    try:
        allow_missing_library()
        models = importlib.import_module("mlc_llm.model").MODELS
        quantizations = importlib.import_module("mlc_llm.quantization").QUANTIZATION
    except Exception as error:  # noqa: BLE001 - a TVM that does not fit, say: whatever it is, it is the answer
        traceback.print_exc()
        return replace(answer, error=reason(error))
    return replace(
        answer,
        version=version or str(sys.modules["mlc_llm"].__version__),
        architectures=tuple(sorted(models)),
        quantizations=tuple(sorted(quantizations)),
    )


def _mlc_version() -> str | None:
    """What mlc_llm's installed distribution says; None for a checkout, which says it itself when it is imported."""
    for one in metadata.distributions():
        name = (one.metadata.get_all("Name") or [""])[0].lower().replace("_", "-")
        if name == _FAMILY or name.startswith(f"{_FAMILY}-"):
            return str(one.version)
    return None


def _commit(folder: Path) -> str | None:
    """The commit of a checkout, or the one in the version of a wheel (`…+g1234abc`)."""
    if (folder.parents[1] / ".git").exists():
        try:
            done = run(["git", "-C", folder, "rev-parse", "HEAD"], check=False, timeout=20, apart=True)
        except SlipwayError:
            return None
        said = done.output.strip()
        return said if done.status == 0 and re.fullmatch(r"[0-9a-f]{40}", said) else None
    named = re.search(r"\+g?([0-9a-f]{7,40})", _mlc_version() or "")
    return named[1] if named else None
