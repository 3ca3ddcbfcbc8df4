"""Finds out what a toolchain can do: its versions, its code generators, and whether its Metal matmul rule works.

`pipeline.steps.toolchain` calls it inside that toolchain's worker, each function in a child of its own. A list of
versions would be wrong soon: the same TVM works or crashes with the tvm-ffi beside it. TVM is imported there only.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import traceback

from pipeline.documents.probe import Versions


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
        mlc_llm=_version("mlc_llm", "mlc-llm", "mlc-llm-nightly-cpu", "mlc-llm-nightly", "mlc-llm-cpu"),
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


def _version(*names: str) -> str | None:
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
