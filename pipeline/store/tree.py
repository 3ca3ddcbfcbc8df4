"""The directories of a tree that are ours alone: nothing is written or removed where a link in them leads elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import StoreError

OURS = ("build", "dist")

_HINTS = {
    "build/store": "remove the link, and set SLIPWAY_STORE to where it leads",
}
_HINT = "remove the link: doit makes a directory in its place; to build elsewhere, move the project or bind-mount it"


def demand_no_links(root: Path, folders: Iterable[str]) -> None:
    """Refuse links among some directories of a tree and those that they are in; one that is not there is fine.

    Raises:
        StoreError: one is a link.
    """
    seen: set[str] = set()
    base = str(root)
    for folder in folders:
        path = ""
        for name in folder.split("/"):
            path = f"{path}/{name}" if path else name
            if path not in seen and os.path.islink(f"{base}/{path}"):
                leads_to = os.readlink(f"{base}/{path}")
                raise StoreError(
                    f"is a link to {leads_to}, and nothing is written outside the tree",
                    where=f"{base}/{path}",
                    hint=_HINTS.get(path, _HINT),
                )
            seen.add(path)


def folders_of(out: str, outputs: Iterable[str]) -> set[str]:
    """The directories that outputs of an action are in, relative to the tree."""
    return {out, *(f"{out}/{path.rpartition('/')[0]}" for path in outputs if "/" in path)}


def states(root: Path) -> list[str]:
    """The directories in which we keep state, and what is in those that tools keep theirs in, relative to the tree."""
    kept = [f"build/{name}" for name in ("cache", "log", "manifest", "scratch", "stamp", "toolchains", "store")]
    return [*OURS, *kept, *(f"{folder}/{name}" for folder in kept[:-1] for name in _folders(root / folder))]


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return []
