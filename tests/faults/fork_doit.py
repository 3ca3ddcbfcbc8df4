"""`doit` a thousand times: a process that has imported all of it and forks a child for each run.

A tree's runs are as many processes as ever, with all that a process forgets; only the imports are paid once. Started by
`Doits`; it reads a directory a line, and answers with the status and the length of what was said, and that.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FOR_CHILDREN = "commands.run", "reports.reporter", "engine.engine", "store.store"


class Doits:
    """Runs doit in directories."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, root: Path) -> tuple[int, str]:
        self._process.stdin.write(f"{root}\n".encode())
        self._process.stdin.flush()
        status, length = map(int, self._process.stdout.readline().split())
        return status, self._process.stdout.read(length).decode()


def main() -> None:
    for name in ("doit.doit_cmd", *(f"pipeline.{name}" for name in FOR_CHILDREN)):
        importlib.import_module(name)
    for line in sys.stdin:
        with tempfile.TemporaryFile() as said:
            pid = os.fork()
            if pid == 0:
                be_doit(line.rstrip("\n"), said.fileno())
            _, status = os.waitpid(pid, 0)
            said.seek(0)
            text = said.read()
        sys.stdout.buffer.write(f"{os.waitstatus_to_exitcode(status)} {len(text)}\n".encode() + text)
        sys.stdout.flush()


def be_doit(root: str, said: int) -> None:
    status = 70
    try:
        os.chdir(root)
        sys.path.insert(0, root)
        sys.argv = ["doit"]
        os.dup2(said, 1)
        os.dup2(said, 2)
        from doit.doit_cmd import DoitMain

        status = DoitMain().run([])
    except SystemExit as ended:
        status = ended.code or 0
    finally:  # the interpreter's farewell belongs to the parent
        if (error := sys.exc_info()[1]) is not None:
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
