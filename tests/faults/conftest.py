"""Fixtures of the fault tests: the generated graph, fresh and built."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fault_graph import Graph, graph_project


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """The graph; nothing has been built."""
    return graph_project(tmp_path / "graph")


@pytest.fixture(scope="session")
def graph_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = graph_project(tmp_path_factory.mktemp("built") / "graph")
    graph.ok()
    graph.ran()
    return graph.root


@pytest.fixture
def built_graph(graph_once: Path, tmp_path: Path) -> Graph:
    """The graph, built; a test may spoil it."""
    root = tmp_path / "graph"
    shutil.copytree(graph_once, root, symlinks=True)
    return Graph(root)
