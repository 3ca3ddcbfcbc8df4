"""Finds out what a toolchain can do, once, so that every compile that uses it can know without asking again.

The questions are asked inside the toolchain's worker, in children that may crash: that is an answer too. `compile`
reads the result, `probe.json`; the functions that ask are in `pipeline.compilers.probe`.
"""

from __future__ import annotations

import json

from pipeline.action import Job, Json
from pipeline.errors import CompilerCrash, StepError

SIMDGROUP_CPU = 4.0
"""CPU seconds Metal's simdgroup rule may take for two small matmuls. Where it is usable it needs a fraction of one."""

COMPILE_CPU = 60.0
"""CPU seconds the smallest compile may take before it counts as hanging, which a bad fork can do."""


def run(job: Job) -> dict[str, Json]:
    """Write `probe.json`, and return it as facts."""
    worker = job.services.worker(job.params["toolchain"])
    found: dict[str, Json] = worker.call("pipeline.compilers.probe:versions", {}, log=job.log)

    def works(function: str, cpu_limit: float) -> bool:
        try:
            return bool(worker.call(f"pipeline.compilers.probe:{function}", {}, log=job.log, cpu_limit=cpu_limit))
        except CompilerCrash:
            return False

    if not works("compiles", COMPILE_CPU):
        cure = "install apache-tvm and apache-tvm-ffi in a pair that works: pip install 'slipway[tvm]'"
        what = f"TVM {found['tvm']} with tvm-ffi {found['tvm_ffi']} cannot compile one matrix product"
        raise StepError(what, cure=cure, log=job.log)
    found["metal_simdgroup"] = "metal" in found["codegens"] and works("metal_simdgroup", SIMDGROUP_CPU)
    (job.out / "probe.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return found
