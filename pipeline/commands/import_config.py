"""`doit import mlc-package-config.json …`: a targets.yaml that builds what `mlc_llm package` built, without dodo.py."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import MatrixError, SlipwayError
from pipeline.files import write_new
from pipeline.importers.mlc_package import merge, read
from pipeline.importers.package_yaml import Systems, render
from pipeline.store.os_errors import told

from .base import PlainCommand, flag, value

ARCHS = ("arm64", "x86_64")


@dataclass(frozen=True)
class ImportOptions:
    """See `doit help import`."""

    output: str = value("write to this file", short="o")
    ios: str = value("oldest iOS", default="14.0")
    catalyst: str = value("oldest iOS of Mac Catalyst (MLC_MACABI_DEPLOYMENT_TARGET)", default="18.0")
    catalyst_archs: str = value("architectures of Mac Catalyst (MLC_MACABI_ARCHS)", default="arm64")
    source: bool = flag("use the Python of the checkout that MLC_LLM_SOURCE_DIR names")
    no_runtime: bool = flag("models alone: no runtime of the checkout that MLC_LLM_SOURCE_DIR names")


class ImportConfig(PlainCommand[ImportOptions]):
    """make a targets.yaml of package configs of mlc_llm (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "import"
    doc_usage = "mlc-package-config.json ..."
    doc_description = (
        "Several configs, for several devices, become one matrix. It is printed, or written to the file that -o names "
        "if that does not exist yet. Exit status: 0; 3 when a config is wrong or a file is in the way."
    )

    def answer(self, options: ImportOptions, args: Sequence[str]) -> int:
        """Read, and print or write."""
        return convert(options, args)


def convert(options: ImportOptions, args: Sequence[str]) -> int:
    """Make the matrix of some configs; nothing is written that `doit` would refuse.

    Raises:
        MatrixError: a config is wrong, or nothing right can be made of it.
        SlipwayError: no file or no architecture is named, or a file is in the way.
    """
    if not args:
        raise SlipwayError(
            "import needs a file", hint="doit import mlc-package-config.json [more of them] -o targets.yaml"
        )
    archs = tuple(options.catalyst_archs.replace(",", " ").split())
    if not archs or not set(archs) <= set(ARCHS):
        raise SlipwayError(f"Mac Catalyst runs on {' and '.join(ARCHS)}, not {' '.join(archs)}", hint="name those")
    output = Path(options.output) if options.output else None
    base = output.parent if output is not None else Path()
    systems = Systems(options.ios, options.catalyst, archs, options.source, not options.no_runtime)
    taken = SlipwayError("is there already; nothing was written", where=output, hint="name another file with -o")
    if output is not None and output.exists():
        raise taken
    models = merge(record for name in args for record in read(Path(name), base, _note))
    text = render(models, [Path(name).name for name in args], systems)
    _check(text, base)
    if output is None:
        sys.stdout.write(text)
        return 0
    with told("write the matrix", output):
        try:
            write_new(str(output), text.encode())
        except FileExistsError:  # by another import meanwhile, or a link that leads nowhere
            raise taken from None
    sys.stdout.write(f"written: {output}\n")
    return 0


def _note(text: str) -> None:
    sys.stderr.write(f"note: {text}\n")


def _check(text: str, base: Path) -> None:
    """Read and plan what is to be written into a directory the way `doit` will.

    Raises:
        MatrixError: it would be refused.
    """
    from pipeline.matrix.expand import expand, without_checkouts  # noqa: PLC0415 - YAML and pydantic come with it
    from pipeline.matrix.loader import read as read_matrix  # noqa: PLC0415
    from pipeline.plan import plan  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "targets.yaml")
        path.write_text(text, encoding="utf-8")
        try:
            targets, document = read_matrix(path)
            plan(expand(without_checkouts(targets), document, base / "targets.yaml"), {})
        except MatrixError as error:
            what = str(error).replace(f"{folder}{os.sep}", "")
            hint = "correct the config, or the options of this command; nothing was written"
            raise MatrixError(f"the targets.yaml made of it would be refused\n{what}", hint=hint) from error
