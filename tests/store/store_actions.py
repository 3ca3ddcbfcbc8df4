"""Actions made up for the store's tests: nothing runs, but files appear in scratch and are committed."""

from __future__ import annotations

import itertools
import shutil

from pipeline.store.action_result import ActionResult, key_of

BIG = bytes(range(256)) * 5000  # 1.28 MB: beyond what is copied
MIDDLE = bytes(range(256)) * 300  # 77 kB: a blob, remembered by its state
SOME = bytes(range(256)) * 20  # 5 kB: a blob, hashed every time

_numbers = itertools.count()


def fields_of(name, **more):
    return {"schema": 1, "step": name.partition(":")[0], "subject": name, **more}


def key_for(name, **fields):
    return key_of(fields_of(name, **fields))


def finish(store, scratch, name, files, *, log=None, started=1_700_000_000.0, **fields):
    """Commit `files` (relative path -> bytes, or (bytes, mode)) as the outputs of a made-up action."""
    folder = scratch / str(next(_numbers))
    folder.mkdir(parents=True)
    for path, content in files.items():
        data, mode = content if isinstance(content, tuple) else (content, 0o644)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        (folder / path).chmod(mode)
    document = fields_of(name, **fields)
    draft = ActionResult(
        key=key_of(document),
        name=name,
        fields=document,
        facts={"files": len(files)},
        started=started,
        seconds=1.5,
        cpu_seconds=1.25,
        peak_bytes=1 << 20,
        host="here",
        versions={"python": "3"},
    )
    record = store.commit(draft, folder, log=log)
    shutil.rmtree(folder)
    return record


def contents(folder):
    """Relative path -> bytes of every file below a directory."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def log_of(record, blobs):
    """What the tools of an action printed; None when it is nothing, or damaged."""
    if record.log is None or not (record.log in record.small or blobs.check(record.log)):
        return None
    return (record.small.get(record.log) or blobs.read(record.log)).decode()
