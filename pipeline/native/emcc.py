"""Drives emscripten: C++ sources to wasm objects, objects to a module.

The steps `wasm_runtime` and `wasm` call it. An object is compiled again only when a file it was made of has changed;
emscripten's own cache of system libraries stays where emscripten keeps it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.documents.codec import dumps, load
from pipeline.errors import FormatError, StepError
from pipeline.process import run, state_of

EMSCRIPTEN = (
    "install emscripten (emsdk install 3.1.56, source emsdk_env.sh; Debian, Ubuntu: apt-get install emscripten)"
)

COMPILE = ("-Os", "-std=c++17", "-Wno-ignored-attributes")
"""As TVM's own web/Makefile; but objects in place of bitcode, which would be optimised again in every link, and small
ones: the runtime calls kernels, and has none."""

LINK = (
    "--no-entry",
    "-sWASM_BIGINT=1",
    "-sSTANDALONE_WASM=1",
    "-sALLOW_MEMORY_GROWTH=1",
    "-sTOTAL_MEMORY=160MB",
    # What is missing is decided by the import section afterwards: the page provides some functions on purpose.
    "-sERROR_ON_UNDEFINED_SYMBOLS=0",
)
"""As TVM's `create_tvmjs_wasm`: what @mlc-ai/web-runtime expects of a module."""

QUICK = ("-O1", "--duplicate-function-elimination", "--strip-debug", "--strip-producers")
"""What binaryen does with a linked module. LLVM has optimised all that is in it already; `-O3`, which emcc asks for,
spends a minute a module on the same runtime for 7 % of its size (docs/how-to/webgpu.md has the figures)."""

_MISSING_HEADER = re.compile(r"fatal error: '?([^':]+)'? ?(?:file not found|: No such file)")


@dataclass(frozen=True, slots=True)
class Emscripten:
    """One emcc, at work for one action."""

    emcc: Path
    version: str
    log: Path

    def compile_all(
        self,
        sources: Mapping[str, Path],
        *,
        root: Path,
        includes: Sequence[Path],
        folder: Path,
        blobs: Mapping[Path, str],
        jobs: int = 2,
    ) -> dict[str, Path]:
        """Compile sources, side by side, to objects of the same names, which are kept in `folder` for the next run.

        C++ files and directories of headers are relative to `root`, where they are compiled: objects know no path of
        this machine (quirk WASM-14). `blobs` tells the content of everything that may be included from another's.

        Raises:
            StepError: one does not compile.
        """
        folder.mkdir(parents=True, exist_ok=True)

        def compile_one(name: str) -> Path:
            words = [*COMPILE, *(f"-I{path}" for path in includes), "-c", str(sources[name])]
            return self._compile(words, folder / f"{name}.o", root, blobs)

        with ThreadPoolExecutor(jobs) as pool:
            return dict(zip(sources, pool.map(compile_one, sources), strict=True))

    def link(self, objects: Sequence[Path], out: Path) -> None:
        """Link objects into a module.

        Raises:
            StepError: they do not link.
        """
        words = [COMPILE[1], *LINK, *map(str, objects), "-o", str(out)]
        if (optimiser := self._optimiser()) is not None:
            self._run(["-O1", *words], "link")
            if run([optimiser, *QUICK, out, "-o", out], log=self.log, check=False).status == 0:
                return
        self._run(["-O2", *words], "link")

    def _optimiser(self) -> Path | None:
        """The wasm-opt that belongs to this emcc; None where it is not found, and emcc must call it by itself."""
        config = self.emcc.with_name("em-config")
        said = run([config, "BINARYEN_ROOT"], check=False, apart=True) if config.is_file() else None
        found = Path(said.output.strip(), "bin", "wasm-opt") if said is not None and said.status == 0 else None
        return found if found is not None and found.is_file() else None

    def _compile(self, words: Sequence[str], made: Path, root: Path, blobs: Mapping[Path, str]) -> Path:
        about, made_by = made.with_suffix(".json"), (self.version, *words)
        if made.is_file() and _is_fresh(about, made_by, blobs):
            return made
        about.unlink(missing_ok=True)
        listed = made.with_suffix(".d")
        self._run([*words, "-MMD", "-MF", str(listed), "-o", str(made)], "compile", root)
        # A rule of make: `object: file file \`; shlex undoes its escapes.
        read = [
            Path(os.path.normpath(root / name))
            for name in shlex.split(listed.read_text(encoding="utf-8").replace("\\\n", " "))[1:]
        ]
        known = {str(path): _known(path, blobs) for path in read}
        about.write_text(dumps(_About(made_by, known)), encoding="utf-8")
        return made

    def _run(self, words: Sequence[str], what: str, root: Path | None = None) -> None:
        done = run([self.emcc, *words], log=self.log, cwd=root, check=False)
        if done.status == 0:
            return
        lines = done.output.strip().splitlines()
        errors = [line.strip() for line in lines if "error" in line.lower()] or lines
        missing = _MISSING_HEADER.search(done.output)
        hint = "the log has all that was said"
        if missing is not None:
            hint = (
                f"{missing[1]} is not in the checkout: fetch its submodules (git submodule update --init --recursive). "
                "The package apache-tvm has these sources without all of their headers: name a checkout of the release"
            )
        elif "Opaque pointers" in done.output or "Invalid bitcode" in done.output:
            hint = "emscripten's LLVM is older than the one that wrote these objects: install a newer emsdk"
        raise StepError(f"emcc could not {what}:\n    " + "\n    ".join(errors[:6]), hint=hint, log=self.log)


@dataclass(frozen=True, slots=True)
class _About:
    """What an object was made of: words, and file -> what its content was known by."""

    words: tuple[str, ...]
    files: Mapping[str, str]


def _is_fresh(about: Path, words: tuple[str, ...], blobs: Mapping[Path, str]) -> bool:
    """Whether an object was made by the same words of files that have not changed."""
    try:
        known = load(_About, about)
    except (OSError, FormatError):
        return False
    return known.words == words and all(_known(Path(path), blobs) == blob for path, blob in known.files.items())


def _known(path: Path, blobs: Mapping[Path, str]) -> str:
    """What tells a file that was read from another: of emscripten's own, and whatever else, its state."""
    return blobs.get(path) or str(state_of(path))
