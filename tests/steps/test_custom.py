"""The step `custom`: what a command sees, and what becomes of one that does not keep to what it declares."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.action import Job, Tool
from pipeline.confined import launch, program
from pipeline.errors import StepError, ToolMissing
from pipeline.steps import custom
from pipeline.store.os_errors import store_error


@dataclass
class Services:
    trace_reads: bool = False


held = pytest.mark.skipif(not program.is_held(), reason="this kernel has no Landlock of version 2")


@pytest.fixture
def attempt(tmp_path, monkeypatch):
    """Run a shell script as a step, and return what it put out."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def run(script, *, outputs=("a",), paths=None, inputs=None, traced=False, **params):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        job = Job(
            params=custom.Params(
                command=("sh", "-c", script, "{out}"), program="sh", paths=paths or {}, outputs=outputs,
                environment=params.pop("environment", {}), secrets=params.pop("secrets", ()), **params,
            ),
            inputs={f"given:{name}": path for name, path in (inputs or {}).items()},
            tools={"program:sh": Tool("program:sh", Path(shutil.which("sh")), "")},
            out=out,
            log=tmp_path / "log",
            services=Services(traced),
        )  # fmt: skip
        facts = custom.run(job)
        assert facts["files"] == len(custom._files(out))
        return {path.name: path.read_text() for path in out.rglob("*") if path.is_file()}

    return run


def test_a_command_sees_what_it_declares_and_nothing_else(attempt, tmp_path):
    tree, view = tmp_path / "tree", tmp_path / "view"
    (tree / "tools").mkdir(parents=True)
    (tree / "tools" / "tool.py").write_text("import beside")
    (tree / "tools" / "beside.py").write_text("")
    view.mkdir()
    (view / "weights.bin").write_text("w")
    listed = attempt(
        'cat ../in/w/weights.bin > "$0/a"; find . -type f >> "$0/a"',
        paths={"tool": "tools/tool.py", "w": ""},
        inputs={"tool": tree / "tools" / "tool.py", "w": view},
    )
    assert listed["a"].split() == ["w./tools/tool.py"], "its sibling is not there: it was not declared"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("step-")]


def test_several_tasks_are_a_directory_each(attempt, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_text(name)
    inputs = {"parts/a": tmp_path / "one", "parts/b.c": tmp_path / "two"}
    script = 'cd $PARTS; cat a/part b.c/part > "$OLDPWD/../out/a"'
    given = {"paths": dict.fromkeys(inputs, ""), "environment": {"PARTS": "{in.parts}"}}
    assert attempt(script, inputs=inputs, **given) == {"a": "onetwo"}


def test_the_environment_is_fixed(attempt, monkeypatch):
    monkeypatch.setenv("SOMETHING", "of the user's")
    listed = attempt('env > "$0/a"', environment={"MODE": "fast"})["a"].splitlines()
    names = {line.partition("=")[0] for line in listed} - {"PWD", "SHLVL", "_", "OLDPWD"}
    assert names == {"PATH", "HOME", "TMPDIR", "LANG", "MODE"}
    assert not [line for line in listed if line.startswith("HOME=") and "step-" not in line]


def test_a_file_system_without_symlinks_is_named_with_the_cure(attempt, monkeypatch):
    def refused(place, target):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(target), None, str(place))  # as Linux does

    monkeypatch.setattr(Path, "symlink_to", refused)
    with pytest.raises(OSError, match="no symlinks") as caught:
        attempt("true")
    said = str(store_error(caught.value, "build it"))
    assert "/out: cannot build it: the file system has no symlinks" in said
    assert "hint: have the project on another one" in said


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("true", "did not write a\n  hint: it wrote nothing there"),
        ('echo > "$0/b"', "did not write a\n  hint: it wrote b"),
        ("echo > a", "it wrote a into the folder it ran in: write to {out}"),
        ('echo > "$0/a"; echo > "$0/b"', "the command wrote what it does not declare: b"),
        ('mkfifo "$0/a"', "a is no file: a pipe"),
        ('ln -s /etc/passwd "$0/a"', "a is a link that leads to no output"),
        ('ln -s ../../etc/passwd "$0/a"', "a is a link that leads to no output"),
        ('ln -s nowhere "$0/a"', "a is a link that leads to no output"),
        ('ln -s . "$0/a"', "a is a link that leads to no output"),
        ("echo first; echo last; exit 3", "sh ended with status 3:\n    first\n    last"),
        ("kill -SEGV $$", "sh died of SIGSEGV"),
    ],
)
def test_what_a_command_does_wrong_is_said(attempt, script, said):
    with pytest.raises(StepError) as caught:
        attempt(script)
    assert said in str(caught.value)
    assert "log:" in str(caught.value)


@pytest.mark.parametrize(
    ("script", "named"),
    [
        ("cat data/words.txt", "data/words.txt"),
        (f"{sys.executable} -c \"open('data/words.txt')\"", "data/words.txt"),
        (f"{sys.executable} -c \"import os; open(os.path.abspath('data/words.txt'))\"", "data/words.txt"),
        (f"{sys.executable} tools/tool.py", "tools/beside.py"),
        (f"{sys.executable} -c 'import tools.deep.one'", "tools/deep/__init__.py"),
        ("cd tools && cat beside.py", "tools/beside.py"),
        ("cd tools && cat ../data/words.txt", "data/words.txt"),
        ("echo data/words.txt; false", None),
        ("cat nowhere", None),
        ("cat /data/words.txt", None),
        ("cat tools/tool.py/none", None),
    ],
)
def test_a_file_of_the_tree_that_was_not_declared_is_named(attempt, tmp_path, monkeypatch, script, named):
    files = {
        "data/words.txt": "",
        "tools/tool.py": "import beside",
        "tools/beside.py": "",
        "tools/deep/__init__.py": "",
    }
    for name, text in files.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(text)
    monkeypatch.chdir(tmp_path / "tree")
    with pytest.raises(StepError) as caught:
        attempt(script, paths={"tool": "tools/tool.py"}, inputs={"tool": tmp_path / "tree/tools/tool.py"})
    hint = f"a step sees only what it declares: add {named} to its `inputs`"
    assert caught.value.hint == (hint if named else program._PRINTED)


@held
@pytest.mark.parametrize("do", ["echo > {}", "rm {}", "mv {} here", "mkdir {}.d", "ln -s x {}.link", "cp {} {}.copy"])
def test_a_command_writes_nowhere_else(attempt, tmp_path, do):
    kept = tmp_path / "kept"
    kept.write_text("mine")
    with pytest.raises(StepError, match="denied") as caught:
        attempt(do.replace("{}", str(kept)) + ' && echo > "$0/a"')
    assert "hint: a step writes nowhere but below {out}" in str(caught.value)
    assert kept.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"kept", "out", "log"}


SEGMENT = "import ctypes; assert ctypes.CDLL(None).shmget(7531, 99, 0o1600) >= 0"


def in_memory():
    return sorted(Path(launch.MEMORY).glob("slipway-*")), "7531" in Path("/proc/sysvipc/shm").read_text()


def test_shared_memory_is_gone_with_the_command(attempt):
    trial = "from pipeline.confined import launch; launch.give_memory()"
    if subprocess.run([sys.executable, "-c", trial], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("namespaces are not allowed here")
    assert in_memory() == ([], False)
    lock = f"{sys.executable} -c 'import multiprocessing; multiprocessing.Lock()'"
    script = f"ls {launch.MEMORY}; echo > {launch.MEMORY}/slipway-left; {lock} && {sys.executable} -c '{SEGMENT}'"
    assert attempt(f'({script}) > "$0/a"; id -u >> "$0/a"') == {"a": f"{os.getuid()}\n"}, "nothing of others is there"
    assert in_memory() == ([], False)


@pytest.mark.skipif(not Path(launch.MEMORY).is_dir(), reason="there is no such folder")
def test_what_it_is_given_in_shared_memory_is_there_and_what_it_leaves_is_told(attempt, tmp_path):
    (tmp_path / "view").mkdir()
    with tempfile.TemporaryDirectory(dir=launch.MEMORY) as folder:
        Path(folder, "blob").write_text("given")
        (tmp_path / "view" / "blob").symlink_to(f"{folder}/blob")
        left = f"{folder}-left"
        got = attempt(f'cat ../in/w/blob > "$0/a"; echo > {left}', paths={"w": ""}, inputs={"w": tmp_path / "view"})
        Path(left).unlink()
    assert got == {"a": "given"}
    assert f"new in {launch.MEMORY}, of this or of another program: {Path(left).name}" in (tmp_path / "log").read_text()


@held
@pytest.mark.skipif(os.getuid() != 0, reason="others may not anyway")
def test_nothing_is_made_among_devices(attempt):
    with pytest.raises(StepError, match="denied"):
        attempt('echo > /dev/null && echo > /dev/slipway-test && echo > "$0/a"')


@held
def test_inside_its_folders_everything_works(attempt):
    script = 'echo 1 > x; mkdir d; mv x d/; mkdir -p "$0/e"; mv d/x "$0/e/a"; mktemp >/dev/null; echo > /dev/null'
    assert attempt(script, outputs=("e/*",)) == {"a": "1\n"}


def test_where_nothing_holds_it_files_beside_its_inputs_are_compared(attempt, tmp_path, monkeypatch):
    monkeypatch.setattr(program.launch, "version", lambda: 0)
    monkeypatch.setattr(program.launch, "__file__", str(unheld(tmp_path)))
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "tool.py").write_text("")
    given = {"paths": {"tool": "tool.py"}, "inputs": {"tool": tree / "tool.py"}}
    assert attempt('echo > "$0/a"', **given)
    with pytest.raises(StepError, match=r"files beside its inputs changed while it ran: .*evil"):
        attempt(f'echo > "$0/a"; echo > {tree}/evil', **given)


def unheld(folder):
    """The launcher as it is where the kernel has no Landlock."""
    text = Path(program.launch.__file__).read_text().replace("interface = version()", "interface = 0")
    (folder / "launch.py").write_text(text)
    return folder / "launch.py"


def test_a_command_that_hangs_is_ended_with_all_it_has_started(attempt, tmp_path):
    started = time.monotonic()
    with pytest.raises(StepError, match="did not end within 1 s"):
        attempt("sh -c 'sleep 4; echo > alive' & echo before; sleep 60", timeout=1.0)
    assert time.monotonic() - started < 20
    assert "before" in (tmp_path / "log").read_text()
    assert not any("sleep 60" in line for line in command_lines())


def test_what_a_command_leaves_running_is_ended(attempt):
    attempt('sleep 61 & echo > "$0/a"')
    assert not any("sleep 61" in line for line in command_lines())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process can leave its session")
def test_what_has_left_the_session_is_ended_too(attempt):
    attempt("""(setsid sleep 63 &) ; setsid sh -c 'sleep 64; true' & echo > "$0/a" """)
    assert not any("sleep 63" in line or "sleep 64" in line for line in command_lines())
    with pytest.raises(StepError, match="did not end within 1 s"):
        attempt("(setsid sleep 63 &) ; sleep 64", timeout=1.0)
    assert not any("sleep 63" in line or "sleep 64" in line for line in command_lines())


def command_lines():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue


HIDDEN = "s3cret-and-long\nsecond line of it"


def test_a_secret_is_shown_nowhere(attempt, tmp_path, monkeypatch):
    monkeypatch.setenv("PACK_KEY", HIDDEN)
    assert attempt('echo "$PACK_KEY" "$PACK_KEY"; printf %s "$PACK_KEY" | wc -c > "$0/a"', secrets=("PACK_KEY",)) == {
        "a": f"{len(HIDDEN)}\n"
    }
    log = (tmp_path / "log").read_text()
    assert "PACK_KEY='***'" in log
    assert "*** ***" in log
    with pytest.raises(StepError) as caught:
        attempt('echo "$PACK_KEY" | tail -1; exit 1', secrets=("PACK_KEY",))
    for text in (log, (tmp_path / "log").read_text(), str(caught.value)):
        assert "s3cret" not in text
        assert "second line" not in text


def test_a_missing_secret_is_named(attempt, monkeypatch):
    monkeypatch.delenv("PACK_KEY", raising=False)
    with pytest.raises(StepError, match="the variable PACK_KEY is not set"):
        attempt("true", secrets=("PACK_KEY",))


def test_a_secret_that_is_found_in_anything_is_refused(attempt, monkeypatch):
    monkeypatch.setenv("PACK_KEY", "secret ")
    with pytest.raises(StepError, match="PACK_KEY is shorter than 8 characters"):
        attempt("true", secrets=("PACK_KEY",))


def test_a_secret_in_an_output_is_refused(attempt, monkeypatch):
    monkeypatch.setenv("PACK_KEY", "0123456789")
    monkeypatch.setattr(custom, "_CHUNK_BYTES", 7)
    with pytest.raises(StepError, match="the value of PACK_KEY is in its output a"):
        attempt('printf "xxx%syyy" "$PACK_KEY" > "$0/a"', secrets=("PACK_KEY",))
    with pytest.raises(StepError, match=r"PACK_KEY is in its output \(its name\)"):
        attempt('echo > "$0/$PACK_KEY"', secrets=("PACK_KEY",), outputs=("*",))
    with pytest.raises(StepError) as caught:
        attempt('echo > "$0/a"; echo > "$0/$PACK_KEY"', secrets=("PACK_KEY",))
    assert "0123456789" not in str(caught.value), "what was not declared is not named, then"
    with pytest.raises(StepError, match="PACK_KEY is in its output a"):
        attempt('ln -s "$PACK_KEY" "$0/a"', secrets=("PACK_KEY",))
    assert attempt('printf "012345678" > "$0/a"', secrets=("PACK_KEY",))


def test_endless_output_is_bounded(attempt, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "KEPT_BYTES", 1000)
    attempt('head -c 3000000 /dev/zero | tr "\\0" x; echo > "$0/a"')
    assert 1000 < (tmp_path / "log").stat().st_size < 3000


def test_a_missing_program_is_named(tmp_path):
    job = Job(
        params=custom.Params(("nothere",), "nothere", {}, ("a",), {}, ()),
        inputs={}, tools={"program:nothere": None}, out=tmp_path, log=tmp_path / "log", services=Services(),
    )  # fmt: skip
    with pytest.raises(ToolMissing, match="nothere is not installed"):
        custom.run(job)


def test_a_program_that_cannot_be_run(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "tool").write_bytes(b"\x7fELF not")
    (tmp_path / "out").mkdir()
    job = Job(
        params=custom.Params(("./tool",), None, {"tool": "tool"}, ("a",), {}, ()),
        inputs={"given:tool": tmp_path / "tool"}, tools={}, out=tmp_path / "out", log=tmp_path / "log",
        services=Services(),
    )  # fmt: skip
    with pytest.raises(StepError, match=r"cannot be run: (Permission denied|Exec format error)"):
        custom.run(job)


def test_it_ends_with_whoever_asked_for_it(tmp_path):
    """Kill a process that runs a step: the command goes too."""
    asker = f"""
import sys; sys.path.insert(0, {str(Path(custom.__file__).parents[2])!r})
from pathlib import Path
from pipeline.confined import launch, program
here = Path({str(tmp_path)!r})
program.run(["/bin/sh", "-c", "echo > begun; sleep 62"], cwd=here, environment={{"PATH": {os.environ["PATH"]!r}}},
            secrets={{}}, writable=[here], readable=[], log=here / "log", timeout=60)
"""
    process = subprocess.Popen([sys.executable, "-c", asker])
    deadline = time.monotonic() + 30
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert any("sleep 62" in line for line in command_lines())
    process.kill()
    process.wait()
    while any("sleep 62" in line for line in command_lines()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any("sleep 62" in line for line in command_lines())


traces = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there")


@traces
def test_a_read_that_is_not_declared_is_named(attempt, tmp_path):
    tree, view = tmp_path / "tree", tmp_path / "view"
    for folder in (tree, view):
        folder.mkdir()
    (tree / "tool.txt").write_text("t")
    (tree / "beside.txt").write_text("b")
    (tmp_path / "blob").write_text("w")
    (view / "weights.bin").symlink_to(tmp_path / "blob")
    given = {"paths": {"tool": "tool.txt", "w": ""}, "inputs": {"tool": tree / "tool.txt", "w": view}, "traced": True}
    assert attempt('cat tool.txt ../in/w/weights.bin > "$0/a"; cat /etc/passwd > $TMPDIR/x', **given) == {"a": "tw"}
    with pytest.raises(StepError) as caught:
        attempt(f'cat {tree}/beside.txt > "$0/a"', **given)
    assert f"the command read 1 file that no key knows:\n    {tree}/beside.txt\n" in str(caught.value)
    assert attempt(f'cat {tree}/beside.txt > "$0/a"', **{**given, "traced": False}), "nobody looked"


@traces
def test_a_program_that_is_not_declared_is_named(attempt, tmp_path):
    (tmp_path / "mine").mkdir()
    other = tmp_path / "mine" / "other"
    other.write_text("#!/bin/sh\necho x\n")
    other.chmod(0o755)
    with pytest.raises(StepError, match=f"no key knows:\n    {other}"):
        attempt(f'{other} > "$0/a"', traced=True)
    shutil.copy(shutil.which("true") or "", tmp_path / "mine" / "true")  # the kernel opens it, and nobody else
    with pytest.raises(StepError, match=f"no key knows:\n    {tmp_path}/mine/true"):
        attempt(f'echo > "$0/a"; cd {tmp_path}/mine && ./true', traced=True)
    assert attempt('echo > "$0/a"; cp /bin/true $TMPDIR && cd $TMPDIR && ./true', traced=True), "that is its own"


def test_without_strace_the_cure_is_named(attempt, monkeypatch):
    monkeypatch.setattr(custom.reads, "STRACE", "no-such-strace")
    with pytest.raises(ToolMissing, match="needs strace"):
        attempt("true", traced=True)


@pytest.mark.parametrize("do", ["chmod 000", "chmod +x", "touch -d 2001-01-01"])
def test_what_it_is_given_stays_as_it_is(attempt, tmp_path, do):
    blob, view = tmp_path / "blob", tmp_path / "view"
    blob.write_text("w")
    blob.chmod(0o444)
    view.mkdir()
    (view / "weights").symlink_to(blob)
    before = blob.stat()
    with pytest.raises(StepError, match="the command changed what it was given: weights"):
        attempt(f'{do} ../in/w/weights; echo > "$0/a"', paths={"w": ""}, inputs={"w": view})
    assert (blob.stat().st_mode, blob.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_a_secret_from_a_file_is_found_without_its_end_of_line(attempt, monkeypatch):
    monkeypatch.setenv("TOKEN", "correct horse\n")
    with pytest.raises(StepError, match="the value of TOKEN is in its output a"):
        attempt('printf %s "$TOKEN" | tr -d "\\n" > "$0/a"', secrets=("TOKEN",))


def test_a_secret_that_is_cut_in_two_where_output_is_dropped_is_hidden(attempt, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "KEPT_BYTES", 1000)
    monkeypatch.setenv("TOKEN", "correct horse")
    attempt('head -c 993 /dev/zero | tr "\\0" x; printf %s "$TOKEN"; echo > "$0/a"', secrets=("TOKEN",))
    assert "corr" not in (tmp_path / "log").read_text().replace("TOKEN", "").rpartition("xxx")[2]
    assert "xxx" in (tmp_path / "log").read_text()
