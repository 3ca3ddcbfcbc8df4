"""What the signatures in one image prove of each model: visible or not, and which of its two constructors are there.

`verdicts` asks. A name in a stripped image may have bytes of other things before it (see `signatures`), so the prefixes
that are expected, and those that the image tells for certain, decide how a name is read: the longest that fits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.binary.symbols import GENERATIONS, Generation

from .images import Image


@dataclass(frozen=True, slots=True)
class Finding:
    """One model in one image.

    Attributes:
        generation: of its symbols; None where nothing of the model is here.
        listed: whether the symbol table has its blob: `nm -gU` prints it.
        exported: whether the loader and `dlsym` find its blob.
        blob: whether the constructor of the blob is here.
        host: whether the constructor of the functions is here.
        functions: how many functions that one registers.
        kinds: of the modules in the blob, e.g. `relax.VMExecutable`, `metal`; empty where its header is not readable.
        size: bytes of the blob; 0 where its header is not readable.
    """

    prefix: str
    image: Image
    generation: Generation | None
    listed: bool
    exported: bool
    blob: bool
    host: bool
    functions: int
    kinds: tuple[str, ...]
    size: int

    @property
    def visible(self) -> bool:
        """Whether anything outside the image can find it by name."""
        return self.listed or self.exported

    @property
    def registers(self) -> bool:
        """Whether both of its halves register themselves at start-up."""
        return self.blob and self.host

    @property
    def rank(self) -> tuple[bool, int, bool]:
        """For choosing the best of several images."""
        return self.registers, self.blob + self.host, self.visible


def certain_prefixes(image: Image) -> frozenset[str]:
    """Prefixes of models that the image tells without doubt."""
    names = image.listed | image.exported
    found = {prefix for prefix, _ in image.signatures.contexts} | {blob.prefix for blob in image.signatures.blobs}
    for generation in GENERATIONS:
        for suffix in (generation.blob_suffix, generation.context_suffix):
            found |= {name.removesuffix(suffix) for name in names if name.endswith(suffix)}
    return frozenset(prefix for prefix in found if prefix)


def models_in(image: Image, expected: Iterable[str] = ()) -> dict[str, Finding]:
    """Every model of which an image has anything, by prefix; `expected` are prefixes that may be there."""
    known = certain_prefixes(image) | frozenset(expected)
    blobs: set[tuple[str, Generation]] = set()
    for text, generation in image.signatures.blob_names:
        prefix = next((text[at:] for at in range(len(text)) if text[at:] in known), None)
        # Else the whole word is the best guess, without the kind that ends a blob's list of modules.
        blobs.add((prefix or text.removeprefix("_lib"), generation))
    known |= {prefix for prefix, _ in blobs}
    functions: dict[str, int] = {}
    for name in image.signatures.functions:
        if owner := next((name[:end] for end in range(len(name), 0, -1) if name[:end] in known), None):
            functions[owner] = functions.get(owner, 0) + 1
    made = (_finding(image, prefix, blobs, functions.get(prefix, 0)) for prefix in sorted(known))
    return {found.prefix: found for found in made if found.visible or found.blob or found.host}


def _finding(image: Image, prefix: str, blobs: set[tuple[str, Generation]], functions: int) -> Finding:
    generations = [
        generation
        for generation in GENERATIONS
        if (prefix, generation) in blobs
        or (prefix, generation) in image.signatures.contexts
        or prefix + generation.blob_suffix in image.listed | image.exported
    ]
    generation = generations[0] if generations else None
    symbol = prefix + generation.blob_suffix if generation else None
    read = next((blob for blob in image.signatures.blobs if blob.prefix == prefix), None)
    return Finding(
        prefix=prefix,
        image=image,
        generation=generation,
        listed=symbol in image.listed,
        exported=symbol in image.exported,
        blob=any(name == prefix for name, _ in blobs),
        host=functions > 0 or any(name == prefix for name, _ in image.signatures.contexts),
        functions=functions,
        kinds=read.kinds if read else (),
        size=read.size if read else 0,
    )
