"""`doit verify-app PATH`: are the models really in the app that is about to be shipped, with both constructors?

Needs no dodo.py, no linker and no Mac. Exit status 0 when everything is there, 1 when something is wrong, 3 when the
question was wrong. The parts are in `pipeline.apps`; this is only the command line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.apps import expectations
from pipeline.apps.containers import SUPPORTED, open_container
from pipeline.apps.contents import read_contents
from pipeline.apps.expectations import Expected
from pipeline.apps.verdicts import judge
from pipeline.documents import untrusted
from pipeline.doit_plugin import noop
from pipeline.errors import SlipwayError
from pipeline.reports import app_report as report

from .base import PlainCommand, flag, json_flag, several, value


@dataclass(frozen=True)
class VerifyOptions:
    """See `doit help verify-app`."""

    models: str = value("prefixes (or values of model_lib) that must be there, with commas between them")
    config: str = value("an mlc-app-config.json: the model_lib of each record must be there")
    link: str = value("a link.json of a kit: its models must be there")
    exclude: list[str] = several("leave out files and models of lists that match the pattern: not ours")  # noqa: RUF009 - makes a field
    allow_stripped: bool = flag("a model without any symbol left counts as alive when it registers")
    runtime_version: str = value("the release of TVM that the app's runtime must be of, like 0.22.0")
    json: bool = json_flag()


class VerifyApp(PlainCommand[VerifyOptions]):
    """check that a shipped app or library holds its models, with both constructors (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "verify-app"
    doc_usage = "PATH [LIBRARY…] [--models a,b | --config mlc-app-config.json | --link link.json]"
    doc_description = (
        f"PATH is {SUPPORTED}. Behind a lone program or library may stand the libraries that it loads. Without an "
        "option the models of targets.yaml are expected, where there is one; what the app's own "
        "mlc-app-config.json asks for is always expected. "
        "Exit status: 0 all alive, 1 something is wrong, 3 the check could not be made."
    )

    def answer(self, options: VerifyOptions, args: Sequence[str]) -> int:
        """Check, print, and return the exit status."""
        expected, version = expected_models(options)
        if not args:
            raise SlipwayError("verify-app takes a PATH", hint=f"give {SUPPORTED}")
        contents = read_contents(open_container(*map(Path, args)), options.exclude)
        found = judge(contents, expected, allow_stripped=options.allow_stripped, runtime_version=version)
        text = report.text(found, self.width).rstrip("\n")
        self.show(report.document(found), [text], as_json=options.json)
        return 0 if found.ok else 1


def expected_models(options: VerifyOptions) -> tuple[list[Expected], str | None]:
    """The models that an option names, or targets.yaml where there is one; and the release of TVM that either declares.

    Raises:
        SlipwayError: two options are given, a file is wrong, or the release is none.
    """
    given = [name for name in ("models", "config", "link") if getattr(options, name)]
    if len(given) > 1:
        raise SlipwayError(f"--{' and --'.join(given)} say the same thing twice", hint="give one of them")
    models: list[Expected] = []
    version = None
    targets = Path(noop.targets_path(sys.argv[1:]))
    if options.models:
        models = expectations.models_named(options.models)
    elif options.config:
        models = expectations.models_of_config(untrusted.read(Path(options.config)), options.config)
    elif options.link:
        models = expectations.models_of_link(untrusted.read(Path(options.link)), options.link)
    elif targets.is_file():
        models, version = expectations.of_targets(targets)
    return models, expectations.checked_version(options.runtime_version) if options.runtime_version else version
