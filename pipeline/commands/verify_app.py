"""`doit verify-app PATH`: are the models really in the app that is about to be shipped, with both constructors?

Needs no dodo.py, no linker and no Mac. Exit status 0 when everything is there, 1 when something is wrong, 3 when the
question was wrong. The parts are in `pipeline.apps`; this is only the command line.
"""

from __future__ import annotations

import getopt
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from doit.cmd_base import Command

from pipeline.apps import expectations
from pipeline.apps.containers import SUPPORTED, open_container
from pipeline.apps.contents import read_contents
from pipeline.apps.expectations import Expected
from pipeline.apps.verdicts import judge
from pipeline.documents import untrusted
from pipeline.doit_plugin import noop as snapshot
from pipeline.errors import SlipwayError
from pipeline.reports import app_report as report
from pipeline.reports.tables import terminal_width

from .base import ERROR, JSON, flag, value
from .friendly import Friendly


class VerifyApp(Friendly, Command):  # type: ignore[misc]
    """check that a shipped app holds its models"""  # noqa: D415 - doit prints this as it is

    name = "verify-app"
    doc_purpose = "check that a shipped app or library holds its models, with both constructors (Slipway)"
    doc_usage = "PATH [--models a,b | --config mlc-app-config.json | --link link.json]"
    doc_description = (
        f"PATH is {SUPPORTED}. Without an option the models of targets.yaml are expected, where there is one; what the "
        "app's own mlc-app-config.json asks for is always expected. "
        "Exit status: 0 all alive, 1 something is wrong, 3 the check could not be made."
    )
    cmd_options = (
        value("models", "prefixes (or values of model_lib) that must be there, with commas between them"),
        value("config", "an mlc-app-config.json: the model_lib of each record must be there"),
        value("link", "a link.json of a kit: its models must be there"),
        {
            **value("exclude", "leave out files and models of lists that match the pattern: not ours"),
            "type": list,
            "default": [],
        },
        flag("allow-stripped", "a model without any symbol left counts as alive when it registers"),
        JSON,
    )

    def parse_execute(self, in_args: list[str]) -> Any:
        """Take options behind PATH, too: doit's own parser stops at the first word that is none."""
        parser = self.cmdparser
        with suppress(getopt.GetoptError):  # doit's parser meets the same mistake, and says so
            options, words = getopt.gnu_getopt(in_args, parser.get_short(), parser.get_long())
            in_args = [*(f"{option}={value}" if value else option for option, value in options), "--", *words]
        return super().parse_execute(in_args)

    def execute(self, opt_values: Mapping[str, Any], pos_args: Sequence[str]) -> int:
        """Check, print, and return the exit status."""
        try:
            expected = expected_models(opt_values)
            contents = read_contents(open_container(_only_path(pos_args)), opt_values["exclude"])
        except SlipwayError as error:
            if opt_values["json"]:
                _print_json(report.error_document(error))
            else:
                sys.stderr.write(f"ERROR: {error}\n")
            return ERROR
        found = judge(contents, expected, allow_stripped=opt_values["allow_stripped"])
        if opt_values["json"]:
            _print_json(report.document(found))
        else:
            sys.stdout.write(report.text(found, terminal_width() if sys.stdout.isatty() else None))
        return 0 if found.ok else 1


def _only_path(arguments: Sequence[str]) -> Path:
    if len(arguments) != 1:
        raise SlipwayError(f"verify-app takes one PATH, not {len(arguments)}", hint=f"give {SUPPORTED}")
    return Path(arguments[0])


def expected_models(options: Mapping[str, Any]) -> list[Expected]:
    """The models that an option names, or targets.yaml where there is one.

    Raises:
        SlipwayError: two options are given, or a file is wrong.
    """
    given = [name for name in ("models", "config", "link") if options[name]]
    if len(given) > 1:
        raise SlipwayError(f"--{' and --'.join(given)} say the same thing twice", hint="give one of them")
    if options["models"]:
        return expectations.models_named(options["models"])
    if options["config"]:
        return expectations.models_of_config(untrusted.read(Path(options["config"])), options["config"])
    if options["link"]:
        return expectations.models_of_link(untrusted.read(Path(options["link"])), options["link"])
    targets = Path(snapshot.targets_path(sys.argv[1:]))
    return expectations.models_of_targets(targets) if targets.is_file() else []


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
