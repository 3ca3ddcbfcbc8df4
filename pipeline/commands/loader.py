"""doit's loader of dodo.py, which says in a sentence what is wrong with the file. `commands.friendly` puts it in place.

A no-op imports it, so it imports nothing that doit has not imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from traceback import walk_tb

from doit.cmd_base import DodoTaskLoader
from doit.exceptions import InvalidDodoFile

from pipeline.errors import MatrixError
from pipeline.nearest import did_you_mean, nearest

PACKAGE = Path(__file__).resolve().parent.parent


class ProjectLoader(DodoTaskLoader):  # type: ignore[misc]
    """See doit's class. `dodo` is the file that was loaded."""

    dodo = Path("dodo.py")

    @classmethod
    def like(cls, loader: DodoTaskLoader) -> ProjectLoader:
        """One that is configured as doit has configured its own."""
        made = cls()
        made.__dict__.update(vars(loader))
        return made

    def setup(self, opt_values: Mapping[str, object]) -> None:
        """Import the dodo.py. What doit calls.

        Raises:
            InvalidDodoFile: there is none.
            MatrixError: `targtes=other.yaml`, which doit would take for a setting of the project's own tasks.
        """
        for name in {word.partition("=")[0] for word in sys.argv[1:] if "=" in word and word[0] != "-"} - {"targets"}:
            if nearest(name, ["targets"], 0.75):
                raise MatrixError(f"there is no setting `{name}=`", hint="did you mean targets=PATH?")
        self.dodo = dodo_path(opt_values)
        try:
            super().setup(opt_values)
        except (EOFError, ValueError) as error:
            cut = _cut_bytecode(error)
            if cut is None:
                raise
            cut.unlink(missing_ok=True)
            self.setup(opt_values)


def _cut_bytecode(error: Exception) -> Path | None:
    """The file in `__pycache__` that could not be read: Python leaves it cut short when the disk is full (OS-10)."""
    reading = (frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name == "get_code")
    path = next((frame.f_locals.get("bytecode_path") for frame in reading), None)
    return Path(path) if path is not None and os.path.lexists(path) else None


def dodo_path(params: Mapping[str, object]) -> Path:
    """The dodo.py that the options of a command name.

    Raises:
        InvalidDodoFile: there is none, or it is no Python file; with what to do.
    """
    name, here = str(params.get("dodoFile") or "dodo.py"), Path.cwd()
    above = [folder / name for folder in (here, *here.parents) if os.path.lexists(folder / name)]
    found = next((path for path in above if params.get("seek_file") or path == here / name), None)
    if found is not None and found.suffix == ".py" and found.stem.isidentifier() and found.is_file():
        return found
    if found is not None:
        raise InvalidDodoFile(f"{name} is not a Python file\n  hint: give -f a file of tasks, such as dodo.py")
    if above and name == "dodo.py":
        hint = f"the project is in {os.path.relpath(above[0].parent)}: go there, or say doit -k"
    else:
        hint = "doit init starts a project here" if name == "dodo.py" else "check the name after -f"
    raise InvalidDodoFile(f"there is no {name} in {here}\n  hint: {hint}")


def mistake(error: Exception, dodo: Path) -> str | None:
    """What to say of an error that arose in the user's Python; None where it arose in ours."""
    hint = "correct it; with SLIPWAY_DEBUG=1 the traceback is shown"
    if isinstance(error, SyntaxError) and not Path(error.filename or dodo).is_relative_to(PACKAGE):
        file = _shown(error.filename or str(dodo))
        return f"{file}:{error.lineno or 1}:{error.offset or 1}: this is not Python: {error.msg}\n  hint: correct it"
    if isinstance(error, OSError) and error.filename == str(dodo):
        return f"{_shown(error.filename)}: cannot be read: {error.strerror}\n  hint: make it a file that you may read"
    places = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    own = [place for place in places if _is_own(place[0], dodo.parent)]
    if not own or Path(places[-1][0]).is_relative_to(PACKAGE):
        return None
    if isinstance(error, ModuleNotFoundError):
        hint = f"install what provides {error.name!r}, for {sys.executable}"
        if error.name != PACKAGE.name and (meant := did_you_mean(str(error.name), [PACKAGE.name])):
            hint = meant
        if str(error.name).startswith(f"{PACKAGE.name}."):
            hint = f"`{PACKAGE.name}` is Slipway's own package here: give yours another name"
    file, line = own[-1]
    return f"{_shown(file)}:{line}: {type(error).__name__}: {error}\n  hint: {hint}"


def _is_own(file: str, home: Path) -> bool:
    path = Path(file)
    return path.is_relative_to(home) and not path.is_relative_to(PACKAGE) and "site-packages" not in path.parts


def _shown(file: str) -> str:
    """A path as it is short to read and can be clicked."""
    return os.path.relpath(file) if Path(file).is_relative_to(Path.cwd()) else file
