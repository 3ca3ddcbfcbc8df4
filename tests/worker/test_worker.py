"""Both kinds of worker keep the same promises."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import fake_toolchain
import pytest
import yaml

from pipeline.action import Worker
from pipeline.errors import CompilerCrash, MatrixError, Position, StepError, ToolMissing, VerifyError
from pipeline.worker.usage import measure
from pipeline.worker.worker import ToolchainWorker

HERE = Path(__file__).parent
TOOL = "fake_toolchain"


@pytest.fixture(scope="module", params=[False, True], ids=["forks", "fresh"])
def worker(request):
    with closing(ToolchainWorker(path=[HERE], fresh=request.param)) as worker:
        yield worker


@pytest.fixture
def fork_worker():
    with closing(ToolchainWorker(path=[HERE], preload=[TOOL], idle_stages=2)) as worker:
        yield worker


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def call(worker: Worker, name, /, *, log, after=None, cpu_limit=None, **arguments):
    return worker.call(partial(getattr(fake_toolchain, name), **arguments), log=log, after=after, cpu_limit=cpu_limit)


def stage(tmp_path, **arguments):
    return partial(fake_toolchain.lower, **{"trace": str(tmp_path / "trace"), "n": 7, **arguments})


def runs(tmp_path):
    return len((tmp_path / "trace").read_text().split())


def gone(pid):
    """Whether a process has ended (a zombie that nobody fetched has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter where it ends between open and read
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return sys.platform == "linux"


def eventually(condition, seconds=8.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def sleepers(folder):
    """The ids of the tool, the call and the call's parent of `sleep_with_children`, once they run."""
    assert eventually((folder / "pids").exists, 20)
    return [int(pid) for pid in (folder / "pids").read_text().split()]


# Calls


def test_returns_what_the_function_returns(worker, log):
    assert call(worker, "add", log=log, a=2, b=3) == 5
    assert call(worker, "add", log=log, a="ü", b="☃") == "ü☃"
    assert call(worker, "chatter", log=log, words="x") is None


def test_log_gets_everything_the_child_and_its_tools_print_and_is_appended_to(worker, log):
    log.write_text("before\n")
    call(worker, "chatter", log=log, words="hello")
    assert log.read_text().splitlines() == ["before", "hello", "HELLO", "from below", "from a tool"]


def test_large_results_and_large_arguments_pass(worker, log):
    assert len(call(worker, "big", log=log, size=10_000_000)) == 10_000_000
    assert len(call(worker, "add", log=log, a="a" * 5_000_000, b="b")) == 5_000_001


def test_every_call_has_a_process_of_its_own(worker, log):
    first, second = (call(worker, "pids", log=log) for _ in range(2))
    assert len({first["self"], second["self"], os.getpid()}) == 3


def test_calls_from_many_threads_each_get_their_own_answer(worker, log):
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: call(worker, "add", log=log.with_name(f"log{n}"), a=n, b=1), range(24))
        assert list(answers) == [n + 1 for n in range(24)]


def test_children_inherit_no_stray_descriptors(worker, log):
    with Path(os.devnull).open() as stray, ThreadPoolExecutor(4) as pool:
        os.set_inheritable(stray.fileno(), True)
        busy = [pool.submit(call, worker, "burn", log=log, seconds=0.3) for _ in range(3)]
        time.sleep(0.1)
        seen = call(worker, "descriptors", log=log)
        assert len(seen) == 5, f"stdin, stdout, stderr, the conversation, and the listing itself: {seen}"
        assert len(call(worker, "tool_descriptors", log=log)) == 4, "a tool gets no conversation"
        assert [b.result() for b in busy] == ["done"] * 3


def test_environment_is_sanitised(log, monkeypatch):
    monkeypatch.setenv("TVM_LOG_DEBUG", "1")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("LC_TIME", "de_DE")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    with closing(ToolchainWorker(path=[HERE], env={"EXTRA": "1"})) as worker:
        seen = call(worker, "environment", log=log)
    assert not {"TVM_LOG_DEBUG", "PYTHONSTARTUP", "HF_TOKEN"} & set(seen)
    assert seen["PATH"] == os.environ["PATH"]
    assert "LC_TIME" not in seen
    assert (seen["LC_ALL"], seen["TZ"]) == ("C", "UTC")
    assert (seen["EXTRA"], seen["PYTHONHASHSEED"], seen["TVM_NUM_THREADS"]) == ("1", "0", "1")


# Failures


def test_a_slipway_error_keeps_its_class_place_and_hint(worker, log):
    with pytest.raises(MatrixError) as caught:
        call(worker, "wrong_matrix", log=log)
    assert caught.value.where == Position("targets.yaml", 3, 5)
    assert str(caught.value) == "targets.yaml:3:5: no such preset\n  hint: did you mean iphone?"
    with pytest.raises(VerifyError) as caught:
        call(worker, "wrong_artifact", log=log, path="a/b.o")
    assert (caught.value.where, caught.value.log) == ("a/b.o", log)
    with pytest.raises(VerifyError, match="special"):
        call(worker, "own_error", log=log)


def test_another_exception_becomes_a_step_error_with_the_users_line_and_the_traceback_in_the_log(worker, log, tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text("import json\n\ndef build():\n    return json.loads('{')\n")
    with pytest.raises(StepError, match="JSONDecodeError: Expecting") as caught:
        call(worker, "recipe", log=log, path=str(recipe), name="build")
    assert caught.value.where == f"{recipe}:4"
    assert caught.value.log == log
    assert "Traceback (most recent call last)" in log.read_text()


def test_a_syntax_error_is_placed_in_the_file_that_has_it(worker, log, tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text("x = 1\ny = (\n")
    with pytest.raises(StepError, match="SyntaxError") as caught:
        call(worker, "recipe", log=log, path=str(recipe), name="build")
    assert caught.value.where == f"{recipe}:2"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("not_json", "not_json returned something that JSON cannot carry"),
        ("leave_politely", "SystemExit: enough"),
    ],
)
def test_every_other_way_to_fail_is_told(worker, log, name, message):
    with pytest.raises(StepError, match=message):
        call(worker, name, log=log)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGILL", "SIGKILL"])
def test_death_by_a_signal_is_a_crash_that_names_it(worker, log, name):
    with pytest.raises(CompilerCrash) as caught:
        call(worker, "die", log=log, number=int(signal.Signals[name]))
    assert f"fake_toolchain:die died of {name}" in str(caught.value)
    assert str(log) in str(caught.value)
    assert ("out of memory" in str(caught.value)) == (name == "SIGKILL")
    assert call(worker, "add", log=log, a=1, b=1) == 2


def test_a_crash_leaves_the_python_stack_in_the_log(worker, log):
    with pytest.raises(CompilerCrash):
        call(worker, "die", log=log, number=int(signal.SIGSEGV))
    assert "in die" in log.read_text()


def test_death_without_an_answer_is_a_crash(worker, log):
    with pytest.raises(CompilerCrash, match="leave ended its process with status 3"):
        call(worker, "leave", log=log, status=3)
    with pytest.raises(CompilerCrash, match="leave ended its process with status 0"):
        call(worker, "leave", log=log, status=0)


def test_a_crash_is_noticed_though_a_grandchild_lives_on(worker, log):
    started = time.monotonic()
    with pytest.raises(CompilerCrash, match="SIGSEGV"):
        call(worker, "leave_child_behind", log=log)
    assert time.monotonic() - started < 5


def test_a_limit_of_cpu_time_ends_a_call_and_is_named(worker, log):
    with pytest.raises(CompilerCrash, match=r"burn was ended by SIGXCPU: it took more than 1 s of CPU time"):
        call(worker, "burn", log=log, cpu_limit=1, seconds=30)
    assert call(worker, "burn", log=log, cpu_limit=30, seconds=0.01) == "done"


def test_usage_is_what_the_calls_of_the_block_and_thread_cost(worker, log):
    def usage(*others):
        with measure() as usage:
            call(worker, "burn", log=log, seconds=0.2)
            call(worker, "hold", log=log, size=150_000_000)
            for other in others:
                other.start()
                other.join()
        return usage

    alone = usage()
    assert alone.cpu >= 0.2
    assert 150_000_000 < alone.peak < 1_000_000_000
    other = threading.Thread(target=call, args=(worker, "burn"), kwargs={"log": log, "seconds": 1})
    assert usage(other).cpu - alone.cpu < 1


# Stages


def test_a_call_after_a_stage_gets_its_state_and_the_log_of_both(worker, log, tmp_path):
    assert call(worker, "codegen", log=log, after=stage(tmp_path), times=3)["n"] == 21
    assert log.read_text().splitlines() == ["lowering 7", "generating 7"]


@pytest.mark.parametrize(
    ("fail", "kind", "message"),
    [("raise", VerifyError, "cannot lower\n  hint: write it otherwise"), ("crash", CompilerCrash, "died of SIGSEGV")],
)
def test_a_stage_that_fails_fails_every_caller_with_the_same_message(worker, tmp_path, fail, kind, message):
    logs = [tmp_path / f"log{n}" for n in range(4)]

    def failure(log):
        with pytest.raises(kind) as caught:
            call(worker, "codegen", log=log, after=stage(tmp_path, fail=fail, sleep=0.1))
        assert caught.value.log == log
        return str(caught.value).replace(str(log), "LOG")

    with ThreadPoolExecutor(4) as pool:
        messages = set(pool.map(failure, logs))
    assert len(messages) == 1
    assert "fake_toolchain:lower" in (text := messages.pop()) or kind is VerifyError
    assert message in text
    assert all("lowering 7" in log.read_text() for log in logs)


def test_a_crash_after_a_stage_fails_that_call_only(worker, log, tmp_path):
    with pytest.raises(CompilerCrash, match=r"codegen_crash.* died of SIGABRT"):
        call(worker, "codegen_crash", log=log, after=stage(tmp_path))
    assert call(worker, "codegen", log=log, after=stage(tmp_path))["n"] == 7


def test_a_fresh_worker_runs_the_stage_for_each_call(log, tmp_path):
    with closing(ToolchainWorker(path=[HERE], fresh=True)) as worker:
        for _ in range(2):
            call(worker, "codegen", log=log, after=stage(tmp_path))
    assert runs(tmp_path) == 2


def test_equal_stages_run_once_and_their_calls_side_by_side(fork_worker, tmp_path):
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(
                call, fork_worker, "meet", log=tmp_path / f"log{n}", after=stage(tmp_path, sleep=0.2),
                folder=str(meeting), others=4,
            )
            for n in range(4)
        ]  # fmt: skip
        assert all(future.result() for future in calls)
    assert runs(tmp_path) == 1
    assert {(tmp_path / f"log{n}").read_text() for n in range(4)} == {"lowering 7\n"}


def test_a_failed_stage_is_not_tried_again(fork_worker, log, tmp_path):
    for _ in range(3):
        with pytest.raises(VerifyError):
            call(fork_worker, "codegen", log=log, after=stage(tmp_path, fail="raise"))
    assert runs(tmp_path) == 1


def test_the_first_caller_pays_for_the_stage(fork_worker, log):
    burning = partial(fake_toolchain.burn, seconds=0.5)
    with measure() as first:
        fork_worker.call(partial(len), log=log, after=burning)
    with measure() as second:
        fork_worker.call(partial(len), log=log, after=burning)
    assert first.cpu >= 0.5
    assert first.cpu - second.cpu > 0.3
    assert second.peak > 0


def test_the_limit_of_a_stage_is_for_making_it_only(fork_worker, log):
    burning = partial(fake_toolchain.burn, seconds=0.1)
    assert fork_worker.call(partial(len), log=log, after=burning, cpu_limit=1) == 4
    if hasattr(resource, "prlimit"):
        assert (
            call(fork_worker, "limit_of_parent", log=log, after=burning) == resource.getrlimit(resource.RLIMIT_CPU)[0]
        )
    with pytest.raises(CompilerCrash, match="burn was ended by SIGXCPU"):
        fork_worker.call(partial(len), log=log, after=partial(fake_toolchain.burn, seconds=9), cpu_limit=1)


def test_the_least_recently_used_idle_stage_is_ended(fork_worker, log, tmp_path):
    def parent(n):
        return call(fork_worker, "codegen", log=log, after=stage(tmp_path, n=n))["parent"]

    one, two = parent(1), parent(2)
    assert parent(1) == one
    three = parent(3)  # the worker keeps two idle stages, and 2 was used before 1
    assert eventually(lambda: gone(two))
    assert not gone(one)
    assert (parent(1), parent(3)) == (one, three)
    assert parent(2) not in {one, two, three}


def test_idle_processes_end_where_memory_is_short(log, tmp_path):
    def make_room():
        left.append(worker.trim(allowed))

    def parent(n):
        return call(worker, "codegen", log=log, after=stage(tmp_path, n=n))["parent"]

    left, allowed = [], 1 << 40
    with closing(ToolchainWorker(path=[HERE], preload=[TOOL], make_room=make_room)) as worker:
        one, two = parent(1), parent(2)
        assert left[0] == 0 < left[1]
        allowed = left[1]  # as much as the first has
        assert parent(1) == one, "what is there starts nothing"
        three = parent(3)
        assert eventually(lambda: gone(two))
        assert not gone(one)
        server = call(worker, "pids", log=log)["imported"]
        assert not gone(server), "it was in use"
        assert worker.trim(0) == 0
        assert eventually(lambda: all(map(gone, (one, three, server))))
        assert parent(1) != one


def test_a_stage_that_was_killed_while_idle_is_made_again(fork_worker, log, tmp_path):
    first = call(fork_worker, "codegen", log=log, after=stage(tmp_path))["parent"]
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: gone(first))
    assert call(fork_worker, "codegen", log=log, after=stage(tmp_path))["n"] == 7
    assert runs(tmp_path) == 2


# The interpreter


def test_preloaded_modules_are_imported_once(fork_worker, log):
    seen = [call(fork_worker, "pids", log=log) for _ in range(3)]
    assert len({pids["imported"] for pids in seen}) == 1
    assert seen[0]["imported"] not in {os.getpid(), *(pids["self"] for pids in seen)}


def test_a_server_that_was_killed_is_started_again(fork_worker, log, tmp_path):
    server = call(fork_worker, "pids", log=log)["imported"]
    stages = call(fork_worker, "codegen", log=log, after=stage(tmp_path))["parent"]
    os.kill(server, signal.SIGKILL)
    assert eventually(lambda: gone(server) and gone(stages))
    assert call(fork_worker, "codegen", log=log, after=stage(tmp_path))["n"] == 7
    assert call(fork_worker, "pids", log=log)["imported"] != server


def test_a_call_under_way_learns_that_the_server_was_killed(fork_worker, log, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(call, fork_worker, "sleep_with_children", log=log, folder=str(tmp_path))
        *_, server = sleepers(tmp_path)
        os.kill(server, signal.SIGKILL)
        with pytest.raises(CompilerCrash, match="interpreter ended while fake_toolchain:sleep_with_children ran"):
            busy.result(timeout=10)


def test_a_module_that_cannot_be_preloaded_is_named_to_every_caller(log):
    with closing(ToolchainWorker(preload=["json", "no_such_module"])) as worker:
        worker.warm()
        for _ in range(2):
            with pytest.raises(ToolMissing, match="cannot import no_such_module: ModuleNotFoundError: No module named"):
                worker.call(partial(os.getpid), log=log)


def test_an_interpreter_that_crashes_at_import_says_so(log, tmp_path):
    (tmp_path / "crashing.py").write_text("import os\nprint('on the edge')\nos.abort()\n")
    with closing(ToolchainWorker(preload=["crashing"], path=[tmp_path])) as worker:
        with pytest.raises(CompilerCrash, match=r"(?s)died of SIGABRT.*on the edge"):
            worker.call(partial(os.getpid), log=log)
        with pytest.raises(CompilerCrash, match="SIGABRT"):
            worker.call(partial(os.getpid), log=log, after=partial(os.getpid))


def test_an_interpreter_that_is_not_there_is_a_missing_tool(log, tmp_path):
    with closing(ToolchainWorker(tmp_path / "python")) as worker, pytest.raises(ToolMissing, match="No such file"):
        worker.warm()


def test_an_interpreter_without_this_package_is_lent_it_and_nothing_that_lies_beside_it(log, tmp_path):
    """Our yaml, numpy or tvm must not hide the toolchain's own."""
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / "bin" / "python"
    for fresh in (False, True):
        with closing(ToolchainWorker(python, path=[HERE], fresh=fresh)) as worker:
            assert call(worker, "add", log=log, a=1, b=2) == 3
            with pytest.raises(MatrixError):
                call(worker, "wrong_matrix", log=log)
            with pytest.raises(StepError, match="No module named 'yaml'"):
                worker.call(partial(yaml.safe_load, stream=""), log=log)


@pytest.mark.tvm
def test_tvm_compiles_in_forks_of_one_stage_as_it_does_in_a_fresh_process(tmp_path):
    arguments = {"prefix": "prefix_of_dense_"}
    lowered = partial(fake_toolchain.lower_dense, n=16)

    def generate(worker, n):
        return worker.call(partial(fake_toolchain.generate_dense, **arguments), log=tmp_path / f"log{n}", after=lowered)

    with closing(ToolchainWorker(path=[HERE], fresh=True)) as worker:
        expected = generate(worker, 0)
    with closing(ToolchainWorker(path=[HERE], preload=["tvm"])) as worker, ThreadPoolExecutor(2) as pool:
        assert list(pool.map(partial(generate, worker), range(1, 5))) == [expected] * 4


# Ends


def test_close_ends_calls_and_all_processes_and_later_calls_say_so(tmp_path, log):
    worker = ToolchainWorker(path=[HERE])
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(call, worker, "sleep_after", log=log, after=stage(tmp_path), folder=str(tmp_path))
        processes = sleepers(tmp_path)
        worker.close()
        with pytest.raises(CompilerCrash):
            busy.result(timeout=10)
    assert eventually(lambda: all(gone(pid) for pid in processes))
    worker.close()
    with pytest.raises(StepError, match="closed"):
        call(worker, "add", log=log, a=1, b=1)


PARENT = """
import sys, threading
from pathlib import Path
from functools import partial
from pipeline.worker import worker
kind, here, folder, after = sys.argv[1:]
sys.path.insert(0, here)
import fake_toolchain
worker = worker.ToolchainWorker(path=[Path(here)], fresh=kind == "fresh")
stage = partial(fake_toolchain.lower, trace=folder + "/trace", n=1) if after == "after" else None
name = fake_toolchain.sleep_after if stage else fake_toolchain.sleep_with_children
ask = lambda: worker.call(partial(name, folder=folder), log=Path(folder, "log"), after=stage)
threading.Thread(target=ask, daemon=True).start()
threading.Event().wait()
"""


@pytest.mark.parametrize("kind", ["forks", "fresh"])
@pytest.mark.parametrize("after", ["after", "alone"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_the_process_that_asked(kind, after, number, tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, kind, str(HERE), str(tmp_path), after])
    try:
        processes = sleepers(tmp_path)
        assert not any(gone(p) for p in processes)
    finally:
        parent.send_signal(number)
        parent.wait(10)
    assert eventually(lambda: all(gone(p) for p in processes), 5)
