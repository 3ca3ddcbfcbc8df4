"""Are the modules for pages in a kit those that were linked, and does a page have all that they ask for?

Called by `pipeline.steps.verify` for a product that brings modules along. Reads the finished kit only: `link.json` says
what the modules are, and the modules themselves what they ask for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.binary.objects import read_object
from pipeline.documents.link_json import LinkedModule, LinkJson
from pipeline.errors import FormatError
from pipeline.kits.runtime import FOLDER
from pipeline.native.wasm_imports import missing

from .report import Check, counted, failed, listed, settled
from .subject import unlike

_AGAIN = "doit forget linkkit:{0} && doit linkkit:{0}"


def check_modules(folder: Path, product: str) -> Iterator[Check]:
    """Compare the modules of a kit with its `link.json`, and ask each what it leaves to the page.

    Args:
        folder: the kit.
        product: its name, for hints.

    Yields:
        `modules` and, once those are the right ones, `imports of modules`; nothing where a kit has no modules.
    """
    again = _AGAIN.format(product)
    present = {f"{FOLDER}/{path.name}" for path in folder.glob(f"{FOLDER}/*.wasm")}
    try:
        described = LinkJson.read(folder).modules
        wrong = {one.file: unlike(folder / one.file, one.size, one.sha256) for one in described}
        problems = [f"{name} {what}" for name, what in wrong.items() if what]
        problems += [f"{name} is not in link.json" for name in sorted(present - {one.file for one in described})]
    except (OSError, FormatError) as error:
        yield failed("modules", f"link.json cannot be read: {error}", again)
        return
    if not described and not present:
        return
    yield settled("modules", problems, f"{counted(len(described), 'module')}, size and SHA-256 as in link.json", again)
    if not problems:
        yield _check_imports(folder, described, product)


def _check_imports(folder: Path, described: Sequence[LinkedModule], product: str) -> Check:
    """Whether every function that the modules leave to the page is one that a page has."""
    name, total, problems = "imports of modules", 0, []
    backends = sorted({one.backend for one in described})
    again = " && ".join(f"doit forget wasm:{backend} && doit wasm:{backend}" for backend in backends)
    hint = f"{again}; the checkout in `runtime.source` must be of the TVM that compiled the models"
    for one in described:
        try:
            module = read_object((folder / one.file).read_bytes(), one.file)
        except FormatError as error:
            return failed(name, f"{one.file} cannot be read: {error}", _AGAIN.format(product))
        total += sum(wanted.kind == "function" for wanted in module.imports)
        if nowhere := [wanted.name for wanted in missing(module)]:
            problems.append(f"{one.file} asks for {listed(nowhere)}, which no page has")
    return settled(name, problems, f"{total} functions, all of the page", hint)
