"""What the store's tests share: a store in a temporary directory, and actions made up on the spot."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_actions import finish

from pipeline.store.stat_cache import StatCache
from pipeline.store.store import Store


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def stat_cache(tmp_path):
    return StatCache(tmp_path / "digests")


@pytest.fixture
def build(store, tmp_path):
    """Run a made-up action: write its files to scratch, commit them."""

    def run(name="compile:m@host", files=None, *, into=None, **fields):
        return finish(into or store, tmp_path / "scratch", name, files or {"m.o": b"object"}, **fields)

    return run


@pytest.fixture
def tree(tmp_path) -> Path:
    return tmp_path / "tree"
