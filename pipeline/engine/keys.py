"""The key of an action: canonical JSON of all that can change its result, and the SHA-256 of that.

`engine` builds the document here, decides by its digest, and stores the document in the record; `explain` compares two
documents with `differences`. One traversal serves both, so that the explanation cannot disagree with the decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from pipeline.action import AnyAction, Upstream
from pipeline.documents.codec import encode
from pipeline.store.stat_cache import canonical
from pipeline.transport.http import without_secrets

SCHEMA = 1
"""Raised when the meaning of a field changes: every old record then misses."""


class Document(dict[str, object]):
    """A key document, with its canonical JSON once that was made: it goes into the record as it is."""

    __slots__ = ("text",)

    text: bytes


def document(
    action: AnyAction,
    *,
    code: str,
    files: Mapping[str, str],
    upstream: Mapping[str, Mapping[str, str]],
    tools: Mapping[str, str | None],
) -> Document:
    """Assemble the key document of an action.

    `code` is the digest of the step's code. For each role `files` has the digest of the file or directory, and
    `upstream` relative path -> digest of the outputs read. A tool that is missing has the version None.
    """
    return Document(
        schema=SCHEMA,
        step=action.step,
        code=code,
        params=without_secrets(encode(action.params)),
        files=dict(files),
        upstream=dict(upstream),
        tools=dict(tools),
    )


def digest(fields: Mapping[str, object]) -> str:
    """SHA-256 of the canonical JSON (sorted keys, no spaces, UTF-8) of a key document."""
    text = canonical(fields)
    if isinstance(fields, Document):
        fields.text = text
    return hashlib.sha256(text).hexdigest()


def read_by(edge: Upstream, outputs: Mapping[str, str]) -> dict[str, str]:
    """The outputs of an upstream action that pass the edge's patterns."""
    if not edge.only:
        return outputs if isinstance(outputs, dict) else dict(outputs)
    return {
        path: sha
        for path, sha in outputs.items()
        if any(fnmatchcase(path, pattern) or fnmatchcase(path.rpartition("/")[2], pattern) for pattern in edge.only)
    }


def differences(old: object, new: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield (dotted field, old value, new value) wherever two key documents differ; a missing side is None."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            yield from differences(old.get(name), new.get(name), f"{path}.{name}" if path else name)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from differences(left, right, f"{path}[{i}]")
    elif old != new:
        yield path, old, new
