"""Our runner of doit's tasks: the order is right, quick actions take turns, slow ones run side by side."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from doit.action import PythonAction
from doit.control import TaskControl
from doit.exceptions import InvalidTask
from doit.task import Stream, Task
from pipeline.doit_plugin.dispatch import HOLD, Dispatcher
from pipeline.doit_plugin.runner import PATIENCE, Threads, Turns


class Database:
    """A stand-in for doit's: nothing is ever fresh, but what a test says is."""

    def __init__(self, fresh=(), ignored=()):
        self.fresh, self.ignored = fresh, ignored

    def status_is_ignore(self, task):
        return task.name in self.ignored

    def get_status(self, task, _tasks):
        return SimpleNamespace(status="up-to-date" if task.name in self.fresh else "run")

    def get_values(self, _name):
        return {}

    def save_success(self, task):
        pass

    def remove_success(self, task):
        pass

    def close(self):
        pass


class Reporter:
    """A stand-in that writes down what it is told."""

    def __init__(self):
        self.told = []

    def __getattr__(self, what):
        def tell(task=None, *_):
            self.told.append((what, getattr(task, "name", None)))

        return tell

    def of(self, what):
        return [name for told, name in self.told if told == what]


def run(graph, threads=2, action=str, *, keep_going=True, **database):
    """Run a graph {task: those it waits for}; what was told, and the status."""

    def task(name, before):
        made = Task(name, [PythonAction(lambda: action(name) is not False)], task_dep=list(before))
        made.verbosity = 0
        return made

    control = TaskControl([task(name, before) for name, before in graph.items()])
    control.process(None)
    reporter = Reporter()
    runner = Threads(Database(**database), reporter, keep_going, False, Stream(0), threads)
    return reporter, runner.run_all(control.task_dispatcher())


DIAMOND = {"end": ("left", "right"), "left": ("begin",), "right": ("begin",), "begin": ()}


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_what_is_waited_for_comes_first(threads):
    reporter, status = run(DIAMOND, threads)
    done = reporter.of("add_success")
    assert status == 0
    assert sorted(done) == sorted(DIAMOND)
    assert done[0] == "begin"
    assert done[-1] == "end"


@pytest.mark.parametrize("threads", [1, 3])
def test_what_waits_for_a_failure_is_not_run_and_the_rest_is(threads):
    reporter, status = run(DIAMOND, threads, lambda name: name != "left")
    assert status == 2
    assert reporter.of("add_failure") == ["left", "end"]
    assert sorted(reporter.of("add_success")) == ["begin", "right"]


def test_nothing_is_started_after_a_failure_unless_asked_for():
    reporter, status = run(DIAMOND, 2, lambda name: name != "begin", keep_going=False)
    assert status == 1
    assert reporter.of("execute_task") == ["begin"]


def test_fresh_and_ignored_tasks_are_passed_over():
    reporter, status = run(DIAMOND, 2, fresh={"begin"}, ignored={"left"})
    assert status == 0
    assert reporter.of("skip_uptodate") == ["begin"]
    assert reporter.of("skip_ignore") == ["left", "end"]
    assert reporter.of("execute_task") == ["right"]


def test_slow_actions_run_side_by_side():
    both = threading.Barrier(2, timeout=20)
    _, status = run({"one": (), "two": ()}, 2, lambda _: both.wait() >= 0)
    assert status == 0


def test_quick_actions_are_not_run_by_two_threads_at_a_time():
    running, most = [], []

    def action(name):
        running.append(name)
        most.append(len(running))
        time.sleep(PATIENCE / 100)
        running.remove(name)

    run({str(number): () for number in range(300)}, 4, action)
    assert sum(count > 1 for count in most) < 30, "an action may be slow now and then on a busy machine"


def test_who_is_about_to_wait_steps_aside(monkeypatch):
    monkeypatch.setattr("pipeline.doit_plugin.runner.PATIENCE", 60)
    turns = Turns()
    mine = turns.take(None)
    got = threading.Event()

    def other():
        theirs = turns.take(None)
        got.set()
        turns.give(theirs)

    thread = threading.Thread(target=other)
    thread.start()
    turns.step_aside()
    assert got.wait(20)
    thread.join()
    turns.give(mine)  # it is not the turn any more: nothing happens
    again = turns.take(mine)
    assert again is not mine
    turns.give(again)
    turns.step_aside()  # by somebody who has nothing to let go of


def test_an_error_of_the_runner_reaches_doit():
    class Broken(Database):
        def status_is_ignore(self, task):
            raise InvalidTask(f"no {task.name}")

    control = TaskControl([Task("one", [PythonAction(lambda: True)])])
    control.process(None)
    reporter = Reporter()
    runner = Threads(Broken(), reporter, False, False, Stream(0), 2)
    assert runner.run_all(control.task_dispatcher()) == 2
    assert "runtime_error" in [told for told, _ in reporter.told]


def test_released_tasks_come_before_untouched_ones():
    tasks = {name: Task(name, None, task_dep=list(before)) for name, before in {"a": (), "b": (), "c": ("a",)}.items()}
    order = Dispatcher(tasks, ["c", "b"])
    first = order.send(None)
    assert first.task.name == "a"
    first.run_status = "successful"
    assert order.send(first).task.name == "c"
    assert order.send(None).task.name == "b"
    with pytest.raises(StopIteration):
        order.send(None)


def test_only_what_is_asked_for_and_hold_while_it_runs():
    tasks = {name: Task(name, None, task_dep=list(before)) for name, before in {"a": (), "b": (), "c": ("a",)}.items()}
    order = Dispatcher(tasks, ["c"])
    first = order.send(None)
    assert first.task.name == "a"
    assert order.send(None) == HOLD
    first.run_status = "failure"
    last = order.send(first)
    assert last.task.name == "c"
    assert last.bad_deps == (first,)


def test_tasks_with_more_than_dependencies_are_left_to_doit():
    assert Dispatcher.suits([Task("a", None)])
    assert not Dispatcher.suits([Task("a", None), Task("b", None, setup=["a"])])
    assert not Dispatcher.suits([Task("a", None, calc_dep=["b"])])
    assert not Dispatcher.suits([Task("a", None, getargs={"x": ("b", "y")})])
