"""`doit merge-app-config APP_FILE`: put the records of this build into an app's own list of models.

Exit status 0 when the file says what the build says (now), 1 when a dry run found that it does not, 3 when it cannot be
done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.action import AnyAction
from pipeline.apps.merge_records import Change, Merged, Record, merge, read_list
from pipeline.documents import untrusted
from pipeline.documents.app_records import KEY, LIST, READERS
from pipeline.doit_plugin.session import Session
from pipeline.errors import SlipwayError
from pipeline.files import write_atomic

from .base import ProjectCommand, flag, json_flag, value
from .wording import count, shown


@dataclass(frozen=True)
class MergeOptions:
    """See `doit help merge-app-config`."""

    product: str = value("the product whose records are meant", short="p")
    dry_run: bool = flag("say what would change, and change nothing")
    json: bool = json_flag()


class MergeAppConfig(ProjectCommand[MergeOptions]):
    """put the records of the build into an app's own list of models (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "merge-app-config"
    doc_usage = "APP_FILE [--product NAME] [--dry-run]"
    doc_description = (
        "APP_FILE is the app's mlc-app-config.json, or a list of models for WebLLM. A record with the model_id of one "
        "of ours gets our values, except where its weights are and how much memory it asks for; one that is missing is "
        "added at the end. Everything else in the file stays. Exit "
        "status: 0 the file is as it should be, 1 a dry run found that it is not, 3 it cannot be done."
    )

    def answer(self, session: Session, options: MergeOptions, args: Sequence[str]) -> int:
        """See `ProjectCommand`."""
        if len(args) != 1:
            raise SlipwayError(
                f"merge-app-config takes one APP_FILE, not {len(args)}", hint="name the app's mlc-app-config.json"
            )
        path = Path(args[0])
        actions = _known(session, options.product)
        if not options.product and path.is_file():  # native ones where the list does not tell
            web = read_list(read_text(path)[1], args[0]).kinds == {"web"}
            actions = [action for action in actions if (action.params.kind == "web") == web] or actions
        records = records_of(session, actions)
        mark, text = read_text(path)
        readers = {READERS[action.params.kind] for action in actions}
        merged = merge(text, records, args[0], readers.pop() if len(readers) == 1 else None)
        dry = options.dry_run
        if merged.changes and not dry:
            replace(path, mark + merged.text.encode())
        document = _document(args[0], merged, written=bool(merged.changes) and not dry)
        self.show(document, _lines(args[0], merged, dry=dry), as_json=options.json)
        return 1 if merged.changes and dry else 0


def records_of(session: Session, actions: Sequence[AnyAction]) -> list[Record]:
    """The records that some actions wrote.

    Raises:
        SlipwayError: they are not built, or two products have different ones for a model.
    """
    records: dict[str, Record] = {}
    owners: dict[str, str] = {}
    for action in actions:
        if not session.engine.status(action.name).fresh:
            raise SlipwayError(
                f"the records of {action.subject} are not up to date", hint=f"build them first: doit {action.name}"
            )
        file = session.root / action.out / action.outputs[0]
        for record in json.loads(file.read_text(encoding="utf-8"))[LIST]:
            name = str(record[KEY])
            if records.setdefault(name, record) != record:
                raise SlipwayError(
                    f"products {owners[name]} and {action.subject} have different records for {name}",
                    hint=f"say which is meant: --product {owners[name]}",
                )
            owners.setdefault(name, action.subject)
    return list(records.values())


def _known(session: Session, product: str) -> list[AnyAction]:
    """The actions that write records: that of a product, or where none is named, all."""
    every = [action for action in session.engine.actions.values() if action.step == "app_config"]
    if chosen := [action for action in every if product in {"", action.subject}]:
        return chosen
    if every:
        known = ", ".join(action.subject for action in every)
        raise SlipwayError(f"there is no product {product!r} with records", hint=f"name one of: {known}")
    raise SlipwayError(
        f"no product of {session.targets.name} has records for apps",
        hint="they are written for models of compiler mlc, and for prebuilt ones with a `model_id`",
    )


def read_text(path: Path) -> tuple[bytes, str]:
    """A byte order mark, where there is one, and the text behind it.

    Raises:
        SlipwayError: it cannot be read, or is no UTF-8.
    """
    data = untrusted.read(path)
    mark = untrusted.MARK if data.startswith(untrusted.MARK) else b""
    try:
        return mark, data[len(mark) :].decode()
    except UnicodeDecodeError as error:
        raise SlipwayError("is not UTF-8 text", where=path, hint="save it as UTF-8") from error


def replace(path: Path, data: bytes) -> None:
    """Put other content into a file: at no moment is there half of it. A link stays one, permissions stay.

    Raises:
        SlipwayError: it cannot be written.
    """
    try:
        write_atomic(path.resolve(), data, None, durable=True)
    except OSError as error:
        hint = "make its directory writable"
        raise SlipwayError(f"cannot be written: {error.strerror}", where=path, hint=hint) from error


def _lines(path: str, merged: Merged, *, dry: bool) -> Iterator[str]:
    added = sum(change.added for change in merged.changes)
    counts = [(len(merged.changes) - added, "changed"), (added, "added"), (len(merged.unchanged), "as they were")]
    said = ", ".join(f"{number} {word}" for number, word in counts if number)
    would = " (nothing is written)" if dry and merged.changes else ""
    yield f"{path}: {count(len(merged.changes) + len(merged.unchanged), 'record')}: {said}{would}"
    for change in merged.changes:
        yield from _change(change)


def _change(change: Change) -> Iterator[str]:
    if change.added:
        yield f"  {change.model_id}: added"
    for one in change.fields:
        yield f"  {change.model_id}: {one.name}: {shown(one.old)} → {shown(one.new)}"
    for field in change.kept:
        yield f"  {change.model_id}: {field} stays as the app has it"


def _document(path: str, merged: Merged, *, written: bool) -> dict[str, object]:
    return {
        "file": path,
        "written": written,
        "changed": [
            {
                "model_id": one.model_id,
                "fields": {field.name: {"old": field.old, "new": field.new} for field in one.fields},
            }
            for one in merged.changes
            if not one.added
        ],
        "added": [one.model_id for one in merged.changes if one.added],
        "unchanged": list(merged.unchanged),
    }
