"""Renders the templates of link kits, ours or the user's, and turns a mistake in one into an error that shows the line.

`linkkit` calls `Templates.render` with names and values.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.parsers.expat import ExpatError, ParserCreate

import jinja2

from pipeline.errors import StepError
from pipeline.nearest import did_you_mean

from .escaping import FILTERS

PACKAGE_DATA = "templates"
"""The directory of the package whose files count as code of the steps that render; see `engine.code`."""

OURS = Path(__file__).resolve().parent.parent / PACKAGE_DATA
"""The templates inside the package."""

SUFFIX = ".j2"

_MISTAKES = (TypeError, ValueError, ArithmeticError, AttributeError, LookupError)
"""What an expression in a template can raise."""

_COMMENT = re.compile(r"/\*.*?\*/|<!--.*?-->|<\?xml.*?\?>|//[^\n]*|#(?=\s|$)[^\n]*", re.DOTALL)
"""In any of the languages of our templates."""

_FORMATS: Mapping[str, Callable[[str], object]] = {
    ".json": json.loads,
    ".xml": lambda text: ParserCreate().Parse(text, True),
}
"""Ending of a file -> what reads its format."""


def environment(folders: Sequence[Path], filters: Mapping[str, Callable[..., str]]) -> jinja2.Environment:
    """Jinja, as all templates here are written for it. A file in an earlier folder comes before one in a later."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - never HTML: every value goes through the filter of its own language
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    made.filters.update(filters)
    return made


class Templates:
    """The templates by name, where a file of the same name in the user's directory comes before ours.

    Files of the user whose names begin with `_` are for `{% include %}`; any other must replace one of ours.

    Raises:
        StepError: a file of the user's replaces nothing.
    """

    def __init__(self, overrides: Path | None = None) -> None:
        self._overrides = overrides
        folders = [OURS] if overrides is None else [overrides, OURS]
        self._environment = environment(folders, FILTERS)
        if overrides is not None:
            _refuse_strangers(overrides)

    def render(self, name: str, values: Mapping[str, object]) -> str:
        """Fill in the template `name` (without its ending `.j2`).

        Raises:
            StepError: it names something that is not there, is no template, or raises; what it gives says nothing, or
                is not of its format. Says the file and the line.
        """
        file = name + SUFFIX
        try:
            text = self._environment.get_template(file).render(values)
        except jinja2.UndefinedError as error:
            raise StepError(
                error.message or "undefined", where=self._where(file, error), hint=_hint(error, values)
            ) from error
        except jinja2.TemplateSyntaxError as error:
            where = f"{error.filename or self._path(file)}:{error.lineno}"
            raise StepError(error.message or "no template", where=where, hint="correct the template") from error
        except jinja2.TemplateNotFound as error:
            raise StepError(
                f"it includes {error.name}, which does not exist",
                where=self._where(file, error),
                hint=f"put {error.name} beside it",
            ) from error
        except (jinja2.TemplateError, *_MISTAKES) as error:
            raise StepError(
                f"{type(error).__name__}: {error}",
                where=self._where(file, error),
                hint="correct the template",
            ) from error
        if not _COMMENT.sub("", text).strip():
            hint = "take it out of the folder of templates to have ours, or write what belongs into this file"
            raise StepError(f"it gives a {name} that says nothing", where=self._path(file), hint=hint)
        try:
            _FORMATS.get(Path(name).suffix, str)(text)
        except (ValueError, ExpatError) as error:
            what = f"it gives a {name} that cannot be read: {error}"
            raise StepError(what, where=self._path(file), hint="correct the template") from error
        return text

    def path(self, name: str) -> Path:
        """The file of a template, the user's or ours."""
        return self._path(name + SUFFIX)

    def _path(self, file: str) -> Path:
        mine = self._overrides / file if self._overrides is not None else None
        return mine if mine is not None and mine.is_file() else OURS / file

    def _where(self, file: str, error: BaseException) -> str:
        """`path:line` of the innermost template in a traceback, which Jinja rewrites to template lines."""
        folders = [str(folder) for folder in (self._overrides, OURS) if folder is not None]
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if frame.filename.endswith(SUFFIX) and any(frame.filename.startswith(folder) for folder in folders):
                return f"{frame.filename}:{frame.lineno}"
        return str(self._path(file))


def _hint(error: jinja2.UndefinedError, values: Mapping[str, object]) -> str:
    """What to write instead of a name that nothing has."""
    name = (error.message or "").partition("' is undefined")[0].lstrip("'")
    known = f"there are: {', '.join(sorted(values))}; or put `| default(...)` after it"
    return f"{did_you_mean(name, values)} {known}".lstrip()


def ours() -> tuple[str, ...]:
    """File names of the templates that come with the package, sorted."""
    return tuple(sorted(path.name for path in OURS.glob(f"*{SUFFIX}")))


def _refuse_strangers(overrides: Path) -> None:
    known = ours()
    for path in sorted(overrides.glob(f"*{SUFFIX}")):
        if path.name in known or path.name.startswith("_"):
            continue
        listed = f"ours are: {', '.join(known)}; begin the name with _ if it is to be included by another"
        hint = f"{did_you_mean(path.name, known)} {listed}".lstrip()
        raise StepError("this template replaces none of ours", where=path, hint=hint)
