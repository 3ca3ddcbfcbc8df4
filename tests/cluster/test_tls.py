"""A cluster behind Dask's own TLS: who has no certificate of its authority neither works nor orders."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from fault_graph import TRACEBACK
from loopback import Cluster

from pipeline.cluster.dask_pool import serve
from pipeline.errors import SlipwayError

pytest.importorskip("distributed")
dask = pytest.importorskip("dask")

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


PAIR = {"tls.worker.cert": __file__, "tls.worker.key": __file__}


def openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def certificate(folder: Path, authority: str, name: str) -> dict[str, str]:
    """A certificate of an authority, which is made if need be, as variables of Dask's configuration."""
    ca, key, cert, request = (folder / f"{one}.pem" for one in (authority, f"{name}-key", name, f"{name}-request"))
    if not ca.exists():
        openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", f"/CN={authority}",
            "-keyout", folder / f"{authority}-key.pem", "-out", ca,
        )  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
    openssl(
        "x509", "-req", "-in", request, "-CA", ca, "-CAkey", folder / f"{authority}-key.pem", "-CAcreateserial",
        "-days", 2, "-out", cert,
    )  # fmt: skip
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    roles = ("SCHEDULER", "WORKER", "CLIENT")
    pairs = {f"{prefix}{role}__{what}": str(path) for role in roles for what, path in (("KEY", key), ("CERT", cert))}
    return {f"{prefix}CA_FILE": str(ca), **pairs}


@pytest.mark.parametrize(
    ("address", "config", "said"),
    [
        ("tls://127.0.0.1:1", {}, "for tls:// Dask's configuration has to name a ca-file"),
        ("tls://127.0.0.1:1", {"tls.ca-file": __file__}, "for tls:// Dask's configuration has to name a ca-file"),
        ("tls://127.0.0.1:1", {"tls.ca-file": "/gone.pem", **PAIR}, "names /gone.pem, and there is no such file"),
        ("tcp://127.0.0.1:1", {"require-encryption": True}, "demands tls://"),
    ],
)
def test_a_configuration_that_cannot_do_is_told_and_no_stranger_is_blamed(address, config, said, tmp_path):
    options = {f"distributed.comm.{name}": value for name, value in config.items()}
    with dask.config.set(options), pytest.raises(SlipwayError) as caught:
        serve(address, threads=1, resources={}, folder=tmp_path, name=None, ready=pytest.fail)
    assert said in caught.value.what


def test_who_has_no_certificate_of_ours_neither_works_nor_orders(graph, nginx, tmp_path):
    ours, theirs = certificate(tmp_path, "ours", "team"), certificate(tmp_path, "theirs", "stranger")
    cluster = Cluster(tmp_path / "cluster", nginx.url, graph.root, **ours)
    cluster.start()
    try:
        stranger = cluster.add(wait=False, **theirs)
        assert stranger.process.wait(60) == 3
        assert "cannot be reached" in stranger.said()
        assert TRACEBACK not in stranger.said()
        worker = cluster.add()
        for b, env in enumerate(({}, theirs)):
            run = graph.ok("--on", cluster.address, f"join:compile-m0-b{b}", env=env)
            assert run.output.count("cannot be reached") == 1
            assert TRACEBACK not in run.output
            assert not worker.ran()
        graph.ok("--on", cluster.address, env=ours)
        assert graph.is_right()
        assert sum(worker.ran().values()) == 10
    finally:
        cluster.stop()
