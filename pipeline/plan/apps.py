"""The part of the plan that is about apps: which models of a product have a record, and what is in it.

`plan` calls `app_config_actions`; as there, nothing reads a file. A record is what MLC's apps and WebLLM look a model
up by, so there is one for each model of mlc_llm's, and for each prebuilt one that says a `model_id`. For pages there
must be a module, too: without a runtime nothing can be loaded, and no record says that it could.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from pipeline import roles
from pipeline.action import Action, AnyAction, Upstream
from pipeline.compilers.mlc_names import MlcOptions
from pipeline.documents.chat_config import NAME as CHAT_CONFIG
from pipeline.errors import MatrixError
from pipeline.kits import webllm
from pipeline.matrix.cells import Cell, ModelVariant, Product
from pipeline.matrix.matrix import Matrix
from pipeline.steps import app_config

from .lockfile import Pins
from .models import config_task

HUB = "https://huggingface.co"
"""Where apps, which know no `HF_ENDPOINT`, get what is on the hub."""


def app_config_actions(matrix: Matrix, lock: Pins) -> Iterator[AnyAction]:
    """One action for each product with a model that has a record; WebLLM's name the commit that `lock` pins.

    Raises:
        MatrixError: what an app would be told cannot work.
    """
    for product in matrix.products:
        if product.kind == "layout":  # the apps that read records have trees of their own
            continue
        listed = [cells for cells in _of_product(matrix, product) if has_record(cells[0].model)]
        if product.kind == "web":
            # WebLLM loads modules for WebGPU, which are linked where there is a runtime.
            able = {one.name for one in matrix.backends if one.device_kind == "webgpu"} & {*matrix.runtime.backends}
            listed = [found for cells in listed if (found := [cell for cell in cells if cell.backend.name in able])]
        if not listed:
            continue
        models = _by_id(product, ((cells, _model(matrix, product, cells, lock)) for cells in listed))
        upstream: dict[str, Upstream] = {}
        for cells, model in models:
            upstream |= _upstream(matrix, cells[0], bundled=model.bundle_weight)
            if model.file is not None:
                upstream[roles.module(model.subject)] = Upstream(f"wasm:{cells[0].backend.name}", only=(model.file,))
        web = product.kind == "web"
        yield Action(
            step="app_config",
            run=app_config.run,
            link_outputs=True,
            subject=product.name,
            params=app_config.Params(product.kind, product.base_url, tuple(model for _, model in models)),
            upstream=upstream,
            outputs=("webllm-model-list.json" if web else "bundle/mlc-app-config.json",),
            doc=f"the records by which {'WebLLM' if web else 'an app with MLC'} finds the models of {product.name}",
            where=product.where,
        )


def remarks(matrix: Matrix) -> Iterator[str]:
    """What is right in a matrix and may surprise an app, one line each."""
    for product in matrix.products:
        for cells in _of_product(matrix, product) if product.kind != "layout" else ():
            model = cells[0].model
            if not has_record(model) or model.weights is None:
                continue
            bundled, revision = _is_bundled(model), model.weights.revision
            if product.kind == "web" and bundled and product.base_url is None:
                yield (
                    f"{product.name}: the addresses in its records are relative, and WebLLM takes absolute ones, and "
                    "keeps what it loaded from one for ever: give the product `base_url`, with which they say the "
                    "bytes; or complete them in the page"
                )
            elif product.kind == "android" and bundled and _repository(model) is None and model.app.model_url is None:
                yield (
                    f"{product.name}: no address has the weights of {model.subject}: they must be on the phone, in the "
                    f"app's files under {model_id(matrix, model)}, before it starts"
                )
            elif product.kind != "web" and not bundled and not model.app.model_url and revision not in {None, "main"}:
                yield (
                    f"{product.name}: apps download {model.subject} from `main` of its repository, not from "
                    f"{revision}: the records of MLC's apps cannot say a revision"
                )


def has_record(model: ModelVariant) -> bool:
    """Whether apps look the model up by a record."""
    return model.compiler == "mlc" or (model.compiler == "prebuilt" and model.app.model_id is not None)


def ships_weights(model: ModelVariant) -> bool:
    """Whether an app gets the parameters of a model from its bundle, and not from the hub or a server."""
    return has_record(model) and model.weights is not None and _is_bundled(model)


def model_id(matrix: Matrix, model: ModelVariant) -> str:
    """The app's name for a model: the one it is given, or that of its repository, or ours.

    The name of a repository is what MLC's and WebLLM's own lists use. It is ours where several variants share one.
    """
    if model.app.model_id is not None:
        return model.app.model_id
    repository = _repository(model)
    sharing = [other for other in matrix.models if _repository(other) == repository and other.app.model_id is None]
    return repository.rpartition("/")[2] if repository and len(sharing) == 1 else model.subject


def library_file(matrix: Matrix, model: ModelVariant) -> str:
    """The name of a model's `.wasm`, as WebLLM names it."""
    options = MlcOptions.of(model.options)
    return webllm.library_file(model_id(matrix, model), options.quantization, options.overrides)


def _of_product(matrix: Matrix, product: Product) -> Iterator[list[Cell]]:
    """The cells of each model in a product, in the order of the product's backends."""
    for model in matrix.models:
        cells = {cell.backend.name: cell for cell in matrix.every_cell if cell.model.subject == model.subject}
        found = [cells[name] for name in product.backends if name in cells]
        if found:
            yield found


def _model(matrix: Matrix, product: Product, cells: list[Cell], lock: Pins) -> app_config.AppModel:
    model = cells[0].model
    options, repository = MlcOptions.of(model.options), _repository(model)
    own = model.app.model_url
    url = own or (f"{HUB}/{repository}" if repository else None)
    owner = matrix.library_of(cells[0]).model.subject
    common = app_config.AppModel(
        subject=model.subject,
        library_of=None if owner == model.subject else owner,
        model_id=model_id(matrix, model),
        bundle_weight=_is_bundled(model),
        url=url,
        estimated_vram_bytes=model.app.estimated_vram_bytes,
        quantization=options.quantization,
        model_type=options.model_type,
        overrides=options.overrides,
    )
    _check_addresses(product, common, model)
    if product.kind != "web":
        return replace(common, model_lib=_library(product, cells))
    # The record has digests of the commit that is pinned, and a branch moves on.
    pinned = lock.get(model.model)
    said = model.weights.revision if model.weights is not None else None
    revision = pinned.resolved if pinned is not None else said
    return replace(
        common,
        url=own or (f"{url}/resolve/{revision}/" if url else None),
        file=library_file(matrix, matrix.library_of(cells[0]).model),
        low_resource_required=model.app.low_resource_required,
    )


def _check_addresses(product: Product, record: app_config.AppModel, model: ModelVariant) -> None:
    """What the apps that read a record do with its fields, in MLC's sources and WebLLM's."""
    if product.kind == "android" and record.url is None and not model.app.bundle_weight:
        raise MatrixError(
            f"MLC's Android app ends at a record without a model_url, and nothing says one for {model.subject}",
            where=model.where,
            hint="give the variant `model_url`, an address that has (or will have) its weights in MLC's form; or "
            "`bundle_weight: true`, where somebody puts them on the phone",
        )
    if product.kind != "web" and model.app.model_url is not None and "/resolve/" in f"{model.app.model_url}/":
        raise MatrixError(
            f"MLC's apps put resolve/main/ behind a model_url, and that of {model.subject} has a /resolve/ already",
            where=model.where,
            hint=f"write model_url: {model.app.model_url.partition('/resolve')[0]}; for WebLLM too, make a variant of "
            "its own where it is to be another",
        )
    plain = record.model_id.isascii() and " " not in record.model_id
    if product.kind == "xcframework" and record.bundle_weight and not plain:
        raise MatrixError(
            f"MLC's iOS app looks for the folder of {record.model_id!r} by its percent-encoded name and finds none",
            where=model.where,
            hint="use ASCII letters without spaces in `model_id`",
        )


def _is_bundled(model: ModelVariant) -> bool:
    """Whether the weights are shipped: they must be, unless the hub has them in the form that apps read."""
    wanted = model.app.bundle_weight
    if model.weights is None:
        raise MatrixError(
            f"model {model.model!r} has a model_id and no weights, and an app would not know where to get them",
            where=model.where,
            hint="add `weights:`, or remove its `model_id`",
        )
    if _repository(model) is not None or model.app.model_url is not None:
        return bool(wanted)
    if wanted is False:
        why = "they are converted here" if model.is_raw else "they do not come from the hub"
        raise MatrixError(
            f"the weights of {model.model!r} are not bundled, and no app could download them: {why}",
            where=model.where,
            hint="remove `bundle_weight: false`, or say where your server has them in MLC's form: `model_url`",
        )
    return True


def _repository(model: ModelVariant) -> str | None:
    """The repository of the hub with exactly what apps read, or None."""
    weights = model.weights
    return weights.hf if weights is not None and not model.is_raw and not weights.subdir else None


def _library(product: Product, cells: list[Cell]) -> str:
    """The `model_lib` by which MLC asks its runtime for the model; the runtime puts an underscore behind it."""
    names = sorted({cell.model.prefix for cell in cells})
    model = cells[0].model
    if len(names) > 1:
        raise MatrixError(
            f"product {product.name!r} holds {model.subject} under several names, and a record can say one: "
            f"{', '.join(names)}",
            where=product.where,
            hint="make a product for each system, or give the variant a `model_lib`",
        )
    if not names[0].endswith("_"):
        raise MatrixError(
            f"MLC's runtime cannot find {model.subject}: it looks for names that end in an underscore, and the prefix "
            f"is {names[0]!r}",
            where=model.where,
            hint=f"write `system_lib_prefix: {names[0]}_`",
        )
    return names[0].removesuffix("_")


def _by_id(
    product: Product, models: Iterable[tuple[list[Cell], app_config.AppModel]]
) -> list[tuple[list[Cell], app_config.AppModel]]:
    """One model for each `model_id`: variants that are the same to an app, on different systems, are one record."""
    seen: dict[str, tuple[list[Cell], app_config.AppModel]] = {}
    for cells, model in models:
        others, first = seen.setdefault(model.model_id.lower(), (cells, model))
        if first is model:
            continue
        apart = not {cell.backend.name for cell in others} & {cell.backend.name for cell in cells}
        alike = model == replace(first, subject=model.subject, library_of=model.library_of)  # what apps see of them
        if not apart or cells[0].model.weights != others[0].model.weights or not alike:
            raise MatrixError(
                f"{first.subject} and {model.subject} have one model_id in product {product.name!r}: {model.model_id}",
                where=product.where,
                hint="give one of them another `model_id`, or make a product for each system",
            )
    return list(seen.values())


def _upstream(matrix: Matrix, cell: Cell, *, bundled: bool) -> dict[str, Upstream]:
    """What a record is read from: the library with its metadata, the config, and what is shipped beside it."""
    model, owner = cell.model, matrix.library_of(cell)
    objects = ("*.o",) if model.compiler == "prebuilt" else (f"{model.prefix}devc.o",)
    edges = {roles.objects(model.subject): Upstream(f"compile:{owner.subject}", only=objects)}
    for one in (model, owner.model):
        only = (CHAT_CONFIG, "tokenizer*")
        edges[roles.of(roles.CONFIG, one.subject)] = Upstream(config_task(matrix, one), only)
    if bundled:
        edges[roles.bundle(model.subject)] = Upstream(f"bundle:{model.subject}")
    return edges
