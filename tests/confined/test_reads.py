"""What strace writes down, read back, and what of it no key knows."""

from __future__ import annotations

from pathlib import Path

from pipeline.confined.reads import Reads, read_traces, undeclared


def test_files_that_were_opened_for_reading_and_programs_that_were_started(tmp_path):
    (tmp_path / "trace.1").write_text(
        'execve("/usr/bin/sh", ["sh", "-c", "x \\"= 0"], 0x7fff /* 5 vars */) = 0\n'
        'openat(AT_FDCWD</w>, "a.txt", O_RDONLY|O_CLOEXEC) = 3</w/a.txt>\n'
        'openat(AT_FDCWD</w>, "gone", O_RDONLY) = -1 ENOENT (No such file or directory)\n'
        'openat(AT_FDCWD</w>, "out", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</w/out>\n'
        'openat(AT_FDCWD</w>, ".", O_RDONLY|O_NONBLOCK|O_CLOEXEC|O_DIRECTORY) = 3</w>\n'
        'open("/both", O_RDWR) = 4</both>\n'
        'openat(AT_FDCWD</w>, "caf\\303\\251 \\"x\\"", O_RDONLY) = 3</w/caf\\303\\251 "x">\n'
        'openat(AT_FDCWD</w>, "/proc/self/fd/1", O_RDONLY) = 3<pipe:[41]>\n'
        "+++ exited with 0 +++\n"
    )
    (tmp_path / "trace.2").write_text(
        'execve("./tools/run", ["run"], 0x7f /* 5 vars */) = 0\n'
        'execve("/nothere", ["nothere"], 0x7f /* 5 vars */) = -1 ENOENT (No such file or directory)\n'
        'openat2(AT_FDCWD</w>, "b", {flags=O_RDONLY, resolve=0}, 24) = 3</w/b>\n'
    )
    assert read_traces(tmp_path, Path("/w/tree")) == Reads(
        frozenset({"/w/a.txt", "/both", '/w/café "x"', "/w/b"}), frozenset({"/usr/bin/sh", "/w/tree/tools/run"})
    )


def test_what_no_key_knows(tmp_path):
    tool, other = tmp_path / "tool" / "bin" / "tool", tmp_path / "other" / "bin" / "other"
    for path in (tool, other):
        path.parent.mkdir(parents=True)
        path.touch()
    files = {
        "/usr/share/x", "/etc/passwd", f"{tmp_path}/tool/lib/a.so", f"{tmp_path}/other/lib/b.so",
        f"{tmp_path}/scratch/x", f"{tmp_path}/scratchy", f"{tmp_path}/tool",
    }  # fmt: skip
    reads = Reads(frozenset(files), frozenset({str(tool), str(other), "/usr/bin/env"}))
    found = undeclared(reads, declared=[f"{tmp_path}/scratch"], program=str(tool), kept_out=())
    assert found == [str(other), f"{tmp_path}/scratchy"], (
        "a program is named, and not its libraries; a folder is no file"
    )


def test_a_home_with_programs_is_no_installation(tmp_path):
    (tmp_path / "bin").mkdir()
    tool = str(tmp_path / "bin" / "tool")
    reads = Reads(frozenset({f"{tmp_path}/.config", tool}), frozenset())
    for kept_out in ([tmp_path], [tmp_path / "project"]):
        assert undeclared(reads, declared=[], program=tool, kept_out=kept_out) == [f"{tmp_path}/.config"]
    assert undeclared(reads, declared=[], program=tool, kept_out=[]) == []
