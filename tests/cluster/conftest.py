"""Fixtures of the cluster tests: a remote store, and a cluster of two workers around a graph."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from nginx_server import Nginx

sys.path.append(str(Path(__file__).parents[1] / "faults"))

from loopback import Cluster, travelling_graph


@pytest.fixture
def nginx(tmp_path):
    server = Nginx(tmp_path / "nginx")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def graph(tmp_path, nginx):
    """A graph whose compiles travel; its doit may write to the remote store."""
    made = travelling_graph(tmp_path / "graph")
    made.env = {"SLIPWAY_REMOTE": nginx.url, "SLIPWAY_REMOTE_WRITE": "1"}
    return made


@pytest.fixture
def cluster(tmp_path, nginx, graph):
    """A scheduler; workers are added by the tests."""
    made = Cluster(tmp_path / "cluster", nginx.url, graph.root)
    made.start()
    yield made
    made.stop()
