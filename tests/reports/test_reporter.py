"""What the reporter says of tasks that are not ours, and of those that end when the run is over already."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from pipeline.reports import reporter as module
from pipeline.reports.reporter import Reporter


@pytest.fixture
def stream(monkeypatch, tmp_path):
    """Where the reporter of a project without actions of ours writes."""
    engine = SimpleNamespace(actions={}, outcomes={}, executor=SimpleNamespace(watch=None), workspace={})
    nothing = lambda **_: None  # noqa: E731 - a session that has nothing to begin and nothing to end
    session = SimpleNamespace(engine=engine, names=(), root=tmp_path, begin=nothing, end=nothing)
    monkeypatch.setattr(module, "current", lambda: session)
    return io.StringIO()


def own_task(name: str, **printed: str):
    action = SimpleNamespace(out=printed.get("out"), err=printed.get("err"))
    return SimpleNamespace(name=name, actions=[action], task_dep=[])


def failure(message: str):
    return SimpleNamespace(get_msg=lambda: message)


def test_a_task_of_the_user_counts_once_it_is_done(stream):
    task, reporter = own_task("publish"), Reporter(stream, {})
    reporter.initialize({"publish": task}, ["publish"])
    reporter.execute_task(task)
    reporter.add_success(task)
    reporter.complete_run()
    assert stream.getvalue() == "[1/1] publish: done in 0.0 s\n1 task: 1 done\n"


def test_a_task_of_the_user_that_fails_shows_the_end_of_what_it_printed(stream):
    printed = "".join(f"line {number}\n" for number in range(100))
    task, reporter = own_task("publish", out=printed, err="no such bucket\n"), Reporter(stream, {})
    reporter.initialize({"publish": task}, ["publish"])
    reporter.add_failure(task, failure("Command failed\n"))
    reporter.complete_run()
    said = stream.getvalue()
    assert "\n✗ publish\nCommand failed\n  | line 81\n" in said
    assert said.rstrip().endswith("  | line 99\n  | no such bucket")


def test_what_befalls_a_task_after_the_end_is_no_news(stream):
    task, reporter = own_task("publish"), Reporter(stream, {})
    reporter.initialize({"publish": task}, ["publish"])
    reporter.complete_run()
    said = stream.getvalue()
    reporter.add_success(task)
    reporter.add_failure(task, failure("the worker ended"))
    assert stream.getvalue() == said
    assert said == "1 task: 1 not started\n"


def test_tasks_that_are_made_during_the_run_are_counted(stream):
    first, later = own_task("first"), [own_task(f"later:{number}") for number in range(3)]
    reporter = Reporter(stream, {})
    reporter.initialize({"first": first}, ["first"])
    for task in (first, *later):
        reporter.get_status(task)
        reporter.execute_task(task)
        reporter.add_success(task)
    reporter.complete_run()
    assert stream.getvalue().endswith("[4/4] later:2: done in 0.0 s\n4 tasks: 4 done\n")
