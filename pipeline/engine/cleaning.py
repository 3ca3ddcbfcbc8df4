"""Takes outputs out of the tree: for `doit clean`, and when the matrix no longer has what made them.

The store keeps its copies, so that what is asked for again comes back without being built.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.store import outputs
from pipeline.store.os_errors import told
from pipeline.store.tree import demand_no_links, folders_of

from .engine import Engine
from .status import manifest_path


def clean(engine: Engine, name: str) -> list[Path]:
    """Remove the outputs of an action from the tree; return what was removed.

    Raises:
        StoreError: the tree cannot be written.
    """
    entry = engine.workspace.get(name)
    if entry is None:
        return []
    out = engine.root / entry.out
    demand_no_links(engine.root, folders_of(entry.out, entry.in_tree))
    removed = outputs.remove(entry.in_tree, str(out))
    with told(f"remove the outputs of {name}"):
        (engine.root / manifest_path(name)).unlink(missing_ok=True)
        _remove_empty(out, engine.root)
    engine.workspace.remove(name)
    engine.reconsider()
    return [out / path for path in removed]


def gone(engine: Engine) -> dict[str, int]:
    """The actions that the matrix no longer has, and how many files the tree still has of each."""
    names = sorted(set(engine.workspace.names()) - set(engine.actions))
    return {name: len(entry.in_tree) for name in names if (entry := engine.workspace.get(name)) is not None}


def prune(engine: Engine) -> list[tuple[str, list[Path]]]:
    """Remove the outputs of those: (action, what was removed)."""
    return [(name, clean(engine, name)) for name in gone(engine)]


def _remove_empty(folder: Path, above: Path) -> None:
    """Remove a directory and those it is in as far as they are empty, below `above`."""
    while folder != above:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return
        folder = folder.parent
