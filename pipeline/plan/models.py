"""The first half of the plan: toolchains, weights, parameters and compiles, everything up to a model's objects.

`plan` calls the functions here; as there, nothing reads a file. How each compiler is fed is decided here: which files
of which action enter a compile, and so what can make it stale.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from pipeline import roles
from pipeline.action import Action, AnyAction, Run, Upstream
from pipeline.documents.chat_config import NAME as CHAT_CONFIG
from pipeline.errors import MatrixError, Position
from pipeline.matrix.cells import Cell, ModelVariant
from pipeline.matrix.matrix import Matrix
from pipeline.matrix.source import SourceRef, WeightsSource, files_of
from pipeline.platforms import metal_tool
from pipeline.steps import (
    compile_mlc,
    compile_prebuilt,
    compile_relax,
    convert,
    model_file,
)
from pipeline.steps import params as params_step
from pipeline.steps import toolchain as toolchain_step
from pipeline.steps import weights as weights_step
from pipeline.toolchains.spec import is_made, spec

from .lockfile import Pins

MIB = 1 << 20

COMPILE_MEMORY = 1200 * MIB
"""A first guess; a 0.6 B model's cell needs about this much. What it took last time replaces it."""

RUNTIMES = {"gguf": "llama.cpp", "litert": "LiteRT"}
"""What models run in that are not compiled."""

WINDOW = 4
"""How many families of cells are worked on at once; see `_interleave`."""


SHARDS = ("params_shard_*.bin", "tensor-cache*.json", "ndarray-cache*.json")
"""Parameters as mlc_llm keeps them; the second name of their index is that of older releases."""

CHECKPOINT_TEXTS = (
    "*.json", "tokenizer*", "merges.txt", "vocab*", "*.model", "*.tiktoken", "rwkv_vocab_*", "*.py",
)  # fmt: skip
"""What of a raw checkpoint gen_config reads: everything but tensors."""

_CONVERSIONS: Mapping[str, tuple[Run[convert.Conversion], tuple[str, ...]]] = {
    "gen_config": (convert.gen_config, ("quantization", "model_type", "conv_template", "gen_config")),
    "convert_weight": (convert.convert_weight, ("quantization", "model_type", "source_format")),
}
"""What converts a raw checkpoint: step -> its function, and the options of a variant that it takes."""


def by_role(names: Iterable[str]) -> dict[str, Upstream]:
    """Edges to whole tasks whose names are the roles of their outputs, too: `archive:ios-arm64`."""
    return {name: Upstream(name) for name in names}


def toolchain_actions(matrix: Matrix, frozen: Mapping[str, Sequence[str] | None]) -> Iterator[AnyAction]:
    """The toolchains that something of the matrix needs; `frozen` is what slipway.lock pins of each."""
    known = {toolchain.name: toolchain for toolchain in matrix.toolchains}
    used = {cell.toolchain for cell in matrix.cells if cell.model.compiler != "prebuilt"}
    mlc = {cell.toolchain for cell in matrix.cells if cell.model.compiler == "mlc"}
    for name in sorted(used | {proving_toolchain(matrix.cells_for(one)) for one in matrix.backends}):
        toolchain = known[name]
        tools: tuple[str, ...] = (f"python:{name}",)
        if name in mlc and name == "current":
            tools = (*tools, "mlc_llm")  # one on PATH will do
        pinned = frozen.get(name) if is_made(toolchain) else ()
        yield Action(
            step="toolchain",
            run=toolchain_step.run,
            subject=name,
            params=toolchain_step.Params(
                toolchain=name,
                mlc=name in mlc,
                spec=spec(toolchain) if is_made(toolchain) else None,
                lock=None if pinned is None else tuple(pinned),
            ),
            tools=tools,
            outputs=("probe.json",) if name == "current" else ("freeze.txt", "probe.json"),
            memory=COMPILE_MEMORY // 2,
            doc="probe the compiler: versions, code generators, what works",
            where=None if name == "current" else toolchain.where,
        )


def weight_actions(matrix: Matrix, lock: Pins) -> Iterator[AnyAction]:
    """The weights of each model that has any."""
    for model in {model.model: model for model in matrix.models}.values():
        if model.weights is None:
            continue
        doc = f"fetch and check the weights of {model.model}"
        yield fetching("weights", model.model, model.weights, lock, doc=doc, where=model.weights_where)


def fetching(
    step: str, subject: str, source: WeightsSource, lock: Pins, *, doc: str, where: Position | None
) -> AnyAction:
    """Fetch what belongs to a model, and check it."""
    local = source.kind == "path"  # a file of the user's is not pinned: its digest is in the key
    return Action(
        step=step,
        run=weights_step.run,
        link_outputs=True,
        intermediate=True,
        subject=subject,
        params=weights_step.Params(subject, source, None if local else lock.get(subject)),
        files={roles.PATH: source.name} if local else {},
        doc=doc,
        where=where,
    )


def model_file_actions(matrix: Matrix, lock: Pins) -> Iterator[AnyAction]:
    """Of each model that is not compiled: fetch the file, and bundle it with what it says of itself."""
    for model in matrix.files:
        doc = f"fetch and check the file of {model.name}"
        yield fetching("weights", model.name, model.source, lock, doc=doc, where=model.where)
        yield Action(
            step="bundle",
            run=model_file.run,
            link_outputs=True,
            subject=model.name,
            params=model_file.Params(model.name, model.kind, model.sha256),
            upstream={roles.WEIGHTS: Upstream(f"weights:{model.name}")},
            doc=f"{model.name} for {RUNTIMES[model.kind]}, checked",
            where=model.where,
        )


def prebuilt_actions(matrix: Matrix, lock: Pins) -> Iterator[AnyAction]:
    """The prebuilt files that are fetched, each for one backend."""
    wanted = {(cell.model.model, cell.backend.name): cell.model for cell in matrix.cells}
    for (name, backend), model in wanted.items():
        if backend in model.fetched:
            doc = f"fetch and check the objects of {name} for {backend}"
            source = model.fetched[backend]
            yield fetching("prebuilt", f"{name}/{backend}", source, lock, doc=doc, where=model.where)


def parameter_actions(matrix: Matrix) -> Iterator[AnyAction]:
    """The parameters of each variant: written from its source, or converted from a raw checkpoint."""
    homes = _homes(matrix)
    for model in matrix.models:
        toolchain = homes[model.subject]
        if model.compiler == "relax":
            yield Action(
                step="params",
                run=params_step.run,
                link_outputs=True,
                intermediate=True,
                subject=model.subject,
                params=params_step.Params(model.ref(), model.source.ref(), toolchain),
                files=files_of(roles.SOURCE, model.source),
                upstream=_upstream(model, toolchain),
                memory=COMPILE_MEMORY,
                doc=f"write the parameters of {model.subject} as a tensor cache",
                where=model.where,
            )
        elif model.is_raw:
            yield from _conversions(matrix, model, toolchain)


def _conversions(matrix: Matrix, model: ModelVariant, toolchain: str) -> Iterator[AnyAction]:
    """`gen_config` and `convert_weight` of a raw checkpoint, unless another variant converts it in the same way."""
    for step, (run, _) in _CONVERSIONS.items():
        if conversion(matrix, model, step) != f"{step}:{model.subject}":
            continue
        weights = Upstream(f"weights:{model.model}", only=CHECKPOINT_TEXTS if step == "gen_config" else ())
        yield Action(
            step=step,
            run=run,
            subject=model.subject,
            params=convert.Conversion(_converted_by(model, step), toolchain),
            upstream={roles.TOOLCHAIN: Upstream(f"toolchain:{toolchain}"), roles.WEIGHTS: weights},
            outputs=(CHAT_CONFIG,) if step == "gen_config" else (),
            intermediate=step == "convert_weight",
            memory=COMPILE_MEMORY,
            doc=f"mlc_llm {step} for {model.subject}, once for all backends",
            where=model.where,
        )


def conversion(matrix: Matrix, model: ModelVariant, step: str) -> str:
    """The action that converts a raw checkpoint for a variant: that of the first variant that needs the same."""
    homes = _homes(matrix)

    def needs(one: ModelVariant) -> tuple[str, str]:
        return json.dumps(_converted_by(one, step), sort_keys=True), homes[one.subject]

    alike = (one for one in matrix.models if one.model == model.model and one.is_raw and needs(one) == needs(model))
    return f"{step}:{next(alike, model).subject}"


def _converted_by(model: ModelVariant, step: str) -> dict[str, object]:
    """Those of a variant's options that a conversion takes."""
    return {name: model.options[name] for name in _CONVERSIONS[step][1] if name in model.options}


def config_task(matrix: Matrix, model: ModelVariant) -> str:
    """The action that has the `mlc-chat-config.json` of a variant: its conversion, or its weights."""
    return conversion(matrix, model, "gen_config") if model.is_raw else f"weights:{model.model}"


def compile_actions(matrix: Matrix) -> Iterator[AnyAction]:
    """One compile a cell."""
    for cell in _interleave(matrix.cells):
        model, backend = cell.model, cell.backend
        files, upstream, source = _compiled_from(matrix, cell)
        run, params = _compiler(cell, source)
        objects = () if model.compiler == "prebuilt" else (f"{model.prefix}lib0.o", f"{model.prefix}devc.o")
        yield Action(
            step="compile",
            run=run,
            subject=cell.subject,
            params=params,
            proven_by=f"verify:{backend.name}",
            files=files,
            upstream=upstream,
            tools=(metal_tool(backend.platform),) if objects and backend.kernels == "metallib" else (),
            outputs=(*objects, "functions.json"),
            memory=COMPILE_MEMORY if objects else 0,
            travels=bool(objects),
            shares=_family(cell),
            doc=f"compile {model.subject} for {backend.triple}",
            where=backend.where,
        )


def _compiled_from(matrix: Matrix, cell: Cell) -> tuple[dict[str, str], dict[str, Upstream], SourceRef]:
    """Files, edges and source of a compile."""
    model, source = cell.model, cell.model.source
    if model.compiler == "relax":
        return files_of(roles.SOURCE, source), _upstream(model, cell.toolchain, only=model.config), source.ref()
    if cell.backend.name in model.fetched:
        return {}, {roles.SOURCE: Upstream(f"prebuilt:{model.model}/{cell.backend.name}")}, source.ref()
    if model.compiler == "prebuilt":
        found = source.prebuilt_for(cell.backend.name)
        if found is None:
            raise MatrixError(
                f"model {model.model!r} has no prebuilt file for backend {cell.backend.name!r}",
                where=model.where,
                hint=f"add it to `prebuilt:` as `{cell.backend.name}: path/to/file.tar`, or exclude this combination",
            )
        path, sha256 = found
        return {roles.SOURCE: path}, {}, source.ref(sha256)
    edges = {
        roles.TOOLCHAIN: Upstream(f"toolchain:{cell.toolchain}"),
        roles.CONFIG: Upstream(config_task(matrix, model), only=(CHAT_CONFIG,)),
    }
    return {}, edges, source.ref()


def _upstream(model: ModelVariant, toolchain: str, only: tuple[str, ...] = ()) -> dict[str, Upstream]:
    """What reading a model's source needs: the probed toolchain, and its weights or just their config files."""
    edges = {roles.TOOLCHAIN: Upstream(f"toolchain:{toolchain}")}
    if model.weights is not None:
        edges[roles.CONFIG if only else roles.WEIGHTS] = Upstream(f"weights:{model.model}", only=only)
    return edges


def _compiler(cell: Cell, source: SourceRef) -> tuple[Run[Any], Any]:
    """The step that compiles a cell, and what it is given: a module a compiler, so that none recompiles another's."""
    model, toolchain, backend = cell.model.ref(), cell.toolchain, cell.backend
    if cell.model.compiler == "mlc":
        return compile_mlc.run, compile_mlc.Params(model, source, toolchain, backend, cell.model.named_for)
    if cell.model.compiler == "prebuilt":
        return compile_prebuilt.run, compile_prebuilt.Params(model, source, toolchain, backend)
    return compile_relax.run, compile_relax.Params(model, source, toolchain, backend)


def _homes(matrix: Matrix) -> dict[str, str]:
    """Subject of a variant -> the toolchain that does what is done once for all its cells.

    It is `current` where that compiles one of them, else that of the first.
    """
    homes: dict[str, str] = {}
    for cell in matrix.every_cell:
        if cell.toolchain == "current" or cell.model.subject not in homes:
            homes[cell.model.subject] = cell.toolchain
    return homes


def proving_toolchain(cells: Iterable[Cell]) -> str:
    """The toolchain whose runtime a backend's archive is held against."""
    used = sorted({cell.toolchain for cell in cells if cell.model.compiler != "prebuilt"})
    return "current" if "current" in used or not used else used[0]


def _family(cell: Cell) -> str:
    """What the cells have in common that share a lowering."""
    return f"{cell.model.subject}\0{cell.toolchain}\0{sorted(cell.backend.device.items())}"


def _interleave(cells: Iterable[Cell]) -> Iterator[Cell]:
    """Order cells so that neighbours do not wait for one another.

    Cells of one model variant and one device share their lowering (a *family*). Were they neighbours, a second thread
    would pick up the second cell and wait for the first to lower. So a few families advance side by side, one cell each
    in turn; a few, not all, because each keeps a process alive.
    """
    families: dict[str, list[Cell]] = {}
    for cell in cells:
        families.setdefault(_family(cell), []).append(cell)
    # Long families first: their later cells fill the gaps that the short ones leave.
    queue = sorted(families.values(), key=len, reverse=True)
    for start in range(0, len(queue), WINDOW):
        for turn in zip_longest(*queue[start : start + WINDOW]):
            yield from (cell for cell in turn if cell is not None)
