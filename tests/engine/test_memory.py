import os
import threading
import time

import pytest

from pipeline.engine.memory import Admission, available

GIB = 1 << 30


def machine(tmp_path, *, meminfo="MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n", group="0::/\n", limits=()):
    """A fake of /proc and /sys/fs/cgroup."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(meminfo)
    (proc / "self" / "cgroup").write_text(group)
    for path, limit in dict(limits).items():
        (cgroups / path).mkdir(parents=True, exist_ok=True)
        (cgroups / path / "memory.max").write_text(f"{limit}\n")
    return proc, cgroups


def test_what_is_free_is_available(tmp_path):
    assert available(*machine(tmp_path)) == 8 * GIB


def test_the_limit_of_a_container_is_respected(tmp_path):
    assert available(*machine(tmp_path, limits={"": 2 * GIB})) == 2 * GIB


def test_the_tightest_of_nested_control_groups_counts(tmp_path):
    limits = {"": "max", "user": 3 * GIB, "user/session": "max", "other": GIB}
    assert available(*machine(tmp_path, group="1:name=systemd:/x\n0::/user/session\n", limits=limits)) == 3 * GIB


def test_a_limit_above_what_is_free_does_not_matter(tmp_path):
    assert available(*machine(tmp_path, limits={"": 64 * GIB})) == 8 * GIB


def test_a_group_seen_from_outside_its_namespace_is_no_error(tmp_path):
    assert available(*machine(tmp_path, group="0::/../other\n")) == 8 * GIB


def test_without_proc_physical_memory_counts(tmp_path):
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert physical // 2 < available(tmp_path / "none", tmp_path / "none") < physical


def test_this_machine_has_memory():
    assert available() > 1 << 20


class Jobs:
    """Threads that each hold some bytes until told to end."""

    def __init__(self, total):
        self.admission = Admission(total)
        self.inside = {}
        self.ends = {}
        self.threads = []

    def start(self, name, size):
        self.ends[name] = threading.Event()

        def job():
            with self.admission(size):
                self.inside[name] = size
                self.ends[name].wait(10)
                del self.inside[name]

        thread = threading.Thread(target=job)
        thread.start()
        self.threads.append(thread)

    def settles_as(self, *names):
        deadline = time.monotonic() + 5
        while set(self.inside) != set(names) and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        return set(self.inside) == set(names)

    def close(self):
        for end in self.ends.values():
            end.set()
        for thread in self.threads:
            thread.join(10)


@pytest.fixture
def jobs():
    jobs = Jobs(100)
    yield jobs
    jobs.close()


def test_jobs_that_fit_run_together_and_others_wait(jobs):
    jobs.start("a", 60)
    assert jobs.settles_as("a")
    assert jobs.admission.room() == 40
    jobs.start("b", 40)
    assert jobs.settles_as("a", "b")
    assert jobs.admission.room() == 0
    jobs.start("c", 1)
    jobs.start("d", 0)
    assert jobs.settles_as("a", "b", "d")
    jobs.ends["b"].set()
    assert jobs.settles_as("a", "c", "d")


def test_a_job_larger_than_the_machine_runs_alone(jobs):
    jobs.start("huge", 1000)
    assert jobs.settles_as("huge")
    assert jobs.admission.room() == 0
    jobs.start("small", 10)
    assert jobs.settles_as("huge")
    jobs.ends["huge"].set()
    assert jobs.settles_as("small")
    jobs.start("huge again", 1000)
    assert jobs.settles_as("small")


def test_a_job_that_fails_gives_its_memory_back():
    admission = Admission(100)
    with pytest.raises(RuntimeError), admission(100):
        raise RuntimeError
    with admission(100):
        pass
