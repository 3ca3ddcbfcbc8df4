"""Orders and receipts: what is written is read back, anything else is refused."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from projects import TINY

from pipeline.cluster import performer
from pipeline.cluster.order import Environment, Order, Receipt, read_order, read_receipt, write
from pipeline.documents.codec import decode, encode
from pipeline.errors import FormatError
from pipeline.project import Project
from pipeline.store.action_result import FILE, Output
from pipeline.worker.wire import Failure

SHA = "ab" * 32

ORDER = Order(
    step="compile", subject="m@b", outputs=("lib0.o",), memory=5, run="pipeline.steps.compile_relax:run",
    params={"a": [1, None]}, fields={"code": SHA}, files={"source": "recipes"},
    tree={"recipes/r.py": Output(SHA, 3, FILE)}, upstream={"toolchain": {"probe.json": Output(SHA, 9, FILE)}},
    asked=("cc",), tools={"cc": "gcc 12"}, toolchain="mlc", environment=Environment({"name": "mlc"}, ("a==1",)),
    machine="linux-x86_64",
)  # fmt: skip


def test_what_is_written_is_read_back():
    assert read_order(write(ORDER)) == ORDER
    assert write(read_order(write(ORDER))) == write(ORDER), "equal orders are equal texts"
    receipt = Receipt("host", failure=Failure("StepError", "no", hint="mend it"), log="said")
    assert read_receipt(write(receipt)) == receipt


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "", "a//b", "nul\0"])
def test_a_path_that_leads_elsewhere_is_refused(path):
    for bad in (
        replace(ORDER, tree={**ORDER.tree, path: Output(SHA, 3, FILE)}),
        replace(ORDER, upstream={"toolchain": {path: Output(SHA, 3, FILE)}}),
        replace(ORDER, files={"source": path or "other"}),
        replace(ORDER, subject=f"a/{path}"),
        replace(ORDER, toolchain=path, environment=Environment({"name": path}, None)),
        replace(ORDER, environment=Environment({"name": path}, None)),
    ):
        with pytest.raises(FormatError):
            read_order(write(bad))


@pytest.mark.parametrize("output", [("zz", 1, FILE), (SHA, -1, FILE), (SHA, 1, 0o4755), (SHA, 1, 0o120000)])
def test_a_file_that_is_none_is_refused(output):
    with pytest.raises(FormatError):
        read_order(write(replace(ORDER, tree={"recipes/r.py": Output(*output)})))


WORDS = st.text('{}[]",:0a\\\0', max_size=5)


@given(st.integers(0, 900), st.integers(0, 900), WORDS)
def test_a_cut_or_changed_text_is_refused_or_read_and_nothing_else(start, end, words):
    text = write(ORDER)
    for read in (read_order, read_receipt):
        with suppress(FormatError):
            read(text[:start] + words + text[end:])


@given(st.recursive(st.none() | st.integers() | WORDS, lambda one: st.lists(one) | st.dictionaries(WORDS, one)))
def test_any_json_is_refused_or_read_and_nothing_else(value):
    for read in (read_order, read_receipt):
        with suppress(FormatError):
            read(json.dumps(value))


def test_every_action_that_travels_arrives_as_it_was(tmp_path):
    """With what keys leave out, too: `Backend.preset` decides which machine a check is built for."""
    travelling = [one for one in Project(TINY / "targets.yaml", print).plan() if one.travels]
    assert {one.step for one in travelling} >= {"compile", "check"}
    for action in travelling:
        kind = get_args(get_type_hints(action.run)["job"])[0]
        found = decode(kind, json.loads(json.dumps(encode(action.params, whole=True))), "params")
        assert found == action.params
        assert found.backend.preset == action.params.backend.preset
        assert found.backend.is_host == action.params.backend.is_host
        assert found.backend.where == action.params.backend.where


@pytest.mark.parametrize(("name", "called"), [("worker-3", "worker-3"), (None, ""), (7, "7"), ("a\nb", "")])
def test_a_worker_of_dasks_own_is_called_as_its_owner_calls_it(name, called):
    """By the machine's name where that is an address. Outside of Dask there is nothing to ask."""
    distributed = pytest.importorskip("distributed")

    async def ask():
        async with (
            distributed.Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address=":0") as scheduler,
            distributed.Worker(scheduler.address, name=name, nthreads=1),
            distributed.Client(scheduler.address, asynchronous=True) as client,
        ):
            return await client.submit(performer._called)

    assert asyncio.run(ask()) == called
    assert performer._called() == ""
