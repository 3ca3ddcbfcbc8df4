"""`doit --on`: compiles of a graph are done by a real Dask cluster on this machine, whatever befalls it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections import Counter

import pytest
from fault_graph import TRACEBACK, Background, until
from loopback import free_port, travelling_graph

from pipeline.cluster import dask_pool
from pipeline.errors import ToolMissing

pytest.importorskip("distributed")

COMPILES = {f"compile-m{m}-b{b}" for m in range(3) for b in range(4)}


def elsewhere(*workers) -> Counter[str]:
    return sum((worker.ran() for worker in workers), Counter())


def test_compiles_are_done_by_the_workers_and_those_that_share_work_by_one(graph, cluster):
    workers = cluster.add("--name", "worker-1"), cluster.add("--resources", "gpu=1", "--name", "worker-2")
    run = graph.ok("--on", cluster.address)
    assert graph.is_right()
    assert run.built == {f"join:{name}" for name in graph.expected()}
    assert elsewhere(*workers) == Counter(COMPILES)
    assert not graph.ran().keys() & COMPILES
    for worker in workers:
        assert worker.ran(), "both have work"
    homes = [{name.split("-")[1] for name in worker.ran()} for worker in workers]
    assert not homes[0] & homes[1], "the compiles of one model share work"
    assert " on worker-1" in run.output
    assert " on worker-2" in run.output
    assert " on worker-" in graph.ok("explain", "join:compile-m0-b0").output
    trace = graph.ok("profile", "-o", "trace.json").output
    assert sum(int(number) for number in re.findall(r"on worker-[12]: (\d+) task", trace)) == len(COMPILES)
    assert graph.ok("--on", cluster.address).idle
    graph.ok("forget", "join:compile-m0-b0")
    assert graph.ok("--on", cluster.address).built == {"join:compile-m0-b0"}
    assert graph.ran()["compile-m0-b0"] == 1, "what the user wants again is done here"
    graph.write("src/m0.txt", "x" * 100_000)  # a blob of its own
    assert graph.ok(env={"SLIPWAY_ON": cluster.address}).status == 0
    assert graph.is_right()
    assert elsewhere(*workers)["compile-m0-b1"] == 2


def test_a_failure_elsewhere_is_told_as_one_here(graph, cluster):
    graph.edit("held_steps/join.py", "    join.run(job)\n", """    if subject == "compile-m0-b0":
        from pipeline.errors import StepError
        job.log.write_text("what the compiler said")
        where = job.inputs["weights-m0"] / "weights-m0"
        raise StepError("the model is wrong", where=where, hint="mend it", log=job.log)
    join.run(job)
""")  # fmt: skip
    worker = cluster.add()
    run = graph.doit("-c", "--on", cluster.address)
    assert run.status != 0
    assert "weights-m0: the model is wrong" in run.output
    assert "hint: mend it" in run.output
    assert str(cluster.folder) not in run.output
    assert TRACEBACK not in run.output
    assert "what the compiler said" in graph.path("build/log/join.compile-m0-b0.log").read_text()
    assert worker.ran()["compile-m0-b0"] == 1
    assert "compile-m0-b0" not in graph.ran(), "a step's own failure is not tried again"


def test_a_worker_dies_and_the_other_goes_on(graph, cluster):
    first = cluster.add("--name", "worker-1")
    first.hold("compile-m1-b1")
    run = Background(graph, "--on", cluster.address)
    run.until(lambda: first.is_held("compile-m1-b1"))
    second = cluster.add()
    first.kill()
    assert run.wait() == 0, run.output()
    assert TRACEBACK not in run.output()
    assert graph.is_right()
    assert "worker-1 is gone" in run.output()
    assert second.ran()["compile-m1-b1"] == 1
    assert not graph.ran().keys() & COMPILES, "all was done elsewhere"


def test_the_scheduler_dies_and_comes_back(graph, cluster):
    worker = cluster.add()
    worker.hold("compile-m1-b1")
    run = Background(graph, "--on", cluster.address)
    run.until(lambda: worker.is_held("compile-m1-b1"))
    cluster.end_scheduler()
    worker.release("compile-m1-b1")
    assert run.wait() == 0, run.output()
    assert run.output().count("has gone away") == 1
    assert "<TCP" not in run.output()
    assert TRACEBACK not in run.output()
    assert graph.is_right()
    assert worker.process.wait(30) == 0, worker.said()
    cluster.start()
    worker = cluster.add()
    graph.write("src/m0.txt", "again")
    graph.ok("--on", cluster.address)
    assert graph.is_right()
    assert worker.ran() == Counter({f"compile-m0-b{b}": 1 for b in range(4)})


def test_two_near_sides_that_want_the_same(graph, cluster):
    workers = cluster.add(EACH_TAKES="0.2"), cluster.add(EACH_TAKES="0.2")
    other = travelling_graph(graph.root.parent / "other")
    other.env = graph.env
    runs = [Background(one, "--on", cluster.address) for one in (graph, other)]
    for run in runs:
        assert run.wait() == 0, run.output()
    assert graph.is_right()
    assert other.is_right()
    assert elsewhere(*workers) == Counter(COMPILES), "each is done once"
    assert not (graph.ran() + other.ran()).keys() & COMPILES


def test_the_near_side_is_killed_and_started_again(graph, cluster):
    worker = cluster.add()
    worker.hold("compile-m1-b1")
    run = Background(graph, "--on", cluster.address)
    run.until(lambda: worker.is_held("compile-m1-b1"))
    run.kill()
    worker.release("compile-m1-b1")
    until(lambda: not worker.is_held("compile-m1-b1"))
    graph.ok("--on", cluster.address)
    assert graph.is_right()
    assert max(worker.ran().values()) == 1, "what was finished, and what was on its way, is not done again"


def test_ctrl_c_ends_at_once(graph, cluster):
    worker = cluster.add()
    worker.hold("compile-m1-b1")
    run = Background(graph, "--on", cluster.address)
    run.until(lambda: worker.is_held("compile-m1-b1"))
    assert run.kill(signal.SIGINT) == -signal.SIGINT
    assert "interrupted; what is finished is kept" in run.output()
    assert TRACEBACK not in run.output()


def test_a_worker_with_other_code_refuses_and_the_work_is_done_here(graph, cluster, tmp_path):
    steps = tmp_path / "older"
    shutil.copytree(graph.root, steps)
    worker = cluster.add(PYTHONPATH=str(steps))
    graph.edit("held_steps/join.py", '    note("end", subject)\n', '    note("end", subject)  # newer\n')
    run = graph.ok("--on", cluster.address)
    assert graph.is_right()
    assert "has another version of held_steps.join" in run.output
    assert not worker.ran()
    assert graph.ran().keys() >= COMPILES


def test_steps_that_a_worker_was_not_told_of_are_refused(graph, cluster):
    worker = cluster.add("--steps", "others", steps=False)
    run = graph.ok("--on", cluster.address)
    assert "has no step held_steps.join:run" in run.output
    assert not worker.ran()
    assert graph.is_right()


def test_a_store_that_is_gone(graph, cluster, nginx):
    worker = cluster.add()
    nginx.stop()
    run = graph.ok("--on", cluster.address)
    assert TRACEBACK not in run.output
    assert graph.is_right()
    assert not worker.ran()
    nginx.start()
    graph.write("src/m0.txt", "again")
    graph.ok("--on", cluster.address)
    assert graph.is_right()
    assert worker.ran() == Counter({f"compile-m0-b{b}": 1 for b in range(4)}), "the worker uses the store again"


def test_a_worker_without_a_store_refuses_to_begin(cluster):
    worker = cluster.add(wait=False, SLIPWAY_REMOTE="")
    assert worker.process.wait(30) == 3
    assert "there is no remote store" in worker.said()
    assert TRACEBACK not in worker.said()


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        (["--on", "nowhere"], {}, "no address of a scheduler"),
        (["--on", "http://x:1"], {}, "no address of a scheduler"),
        (["--on", "TCP://x:1"], {}, "no address of a scheduler"),
        (["--on", "tcp://u:SECRET@x:1"], {}, "'tcp://x:1' is no address of a scheduler"),
        (["--on", "tcp://127.0.0.1:1"], {"SLIPWAY_REMOTE": ""}, "there is no remote store"),
        (["--on", "tcp://127.0.0.1:1"], {"SLIPWAY_REMOTE_WRITE": ""}, "may be written to"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_built(graph, words, env, said):
    run = graph.doit(*words, env=env)
    assert run.status == 3
    assert said in run.output
    assert TRACEBACK not in run.output
    assert "SECRET" not in run.output
    assert not graph.ran()


def test_all_that_lacks_is_told_at_once(monkeypatch):
    monkeypatch.setattr(dask_pool, "find_spec", lambda _: None)
    with pytest.raises(ToolMissing, match=r"Dask is not installed; there is no remote store") as caught:
        dask_pool.demand_cluster("tcp://127.0.0.1:1", None, pytest.fail)
    assert "slipway-tvm[dask]" in caught.value.hint
    assert "SLIPWAY_REMOTE_WRITE=1" in caught.value.hint


def test_a_worker_that_cannot_begin_says_why_and_what_to_do(cluster, nginx):
    cluster.add("--name", "worker-1")
    second = cluster.add("--name", "worker-1", wait=False)
    assert second.process.wait(60) == 3
    assert "has a worker called worker-1 already" in second.said()
    cluster.port = nginx.port
    third = cluster.add(wait=False)
    assert third.process.wait(60) == 3
    assert "what answers there is no scheduler of Dask" in third.said()
    for worker in (second, third):
        assert "\n  hint: " in worker.said()
        assert TRACEBACK not in worker.said()


def test_a_scheduler_that_is_something_else(graph, nginx):
    run = graph.ok("--on", f"tcp://127.0.0.1:{nginx.port}")
    assert "cannot be reached (what answers there is no scheduler of Dask); building here" in run.output
    assert TRACEBACK not in run.output
    assert graph.is_right()


def test_a_scheduler_that_is_not_there(graph):
    run = graph.ok("--on", f"tcp://127.0.0.1:{free_port()}")
    assert run.output.count("cannot be reached") == 1
    assert TRACEBACK not in run.output
    assert graph.is_right()


def test_nothing_of_it_is_imported_without_it(graph):
    script = (
        "import sys, atexit; sys.argv = ['doit']\n"
        "atexit.register(lambda: print('MODULES', *(m for m in sys.modules if 'distributed' in m or 'cluster' in m)))\n"
        "from doit.__main__ import main\n"
        "sys.exit(main())\n"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=graph.root, capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "MODULES"


def test_what_the_store_has_lost_the_worker_sends_again(graph, cluster, nginx):
    """A server that deletes what is old leaves records without their blobs."""
    worker = cluster.add()
    again = travelling_graph(graph.root.parent / "again")
    again.env = dict(graph.env)
    for one in (graph, again):
        for m in range(3):
            one.write(f"src/m{m}.txt", f"{m}" * 5_000)  # too large to travel in a record
    graph.ok("--on", cluster.address)
    shutil.rmtree(nginx.data / "cas")
    run = again.ok("--on", cluster.address)
    assert "no more orders" not in run.output
    assert again.is_right()
    assert worker.ran() == Counter(COMPILES), "nothing is done twice"
    assert not again.ran().keys() & COMPILES


@pytest.mark.parametrize("gone", ["home/store", "home"])
def test_a_worker_whose_folder_is_deleted_goes_on(graph, cluster, gone):
    worker = cluster.add()
    graph.ok("--on", cluster.address)
    shutil.rmtree(worker.folder / gone)
    for m in range(3):
        graph.write(f"src/m{m}.txt", f"{m}" * 5_000)
    run = graph.ok("--on", cluster.address)
    assert graph.is_right()
    assert worker.ran() == Counter(dict.fromkeys(COMPILES, 2)), run.output
    assert "another machine does it" not in run.output
