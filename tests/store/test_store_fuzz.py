"""Whatever happens to the bytes of a store or a workspace: never a wrong artifact, never an exception but our own.

Each case takes a sound store, damages some of its files (flips, truncation, swaps, deletion, growth), and then does
what a build does: looks the actions up, places what is found, runs what is not, and looks again.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import MUTATIONS
from store_actions import contents, finish

from pipeline.errors import SlipwayError
from pipeline.store import cas as blobs
from pipeline.store import outputs
from pipeline.store.action_result import ActionResult, decode, encode, key_of
from pipeline.store.message import pack, unpack
from pipeline.store.stat_cache import StatCache
from pipeline.store.store import Store
from pipeline.store.workspace import Entry, Workspace

CHEAP, COPIED = 8_000, 30_000
"""The store's own limits (`blobs`), made smaller, so that a thousand cases take seconds."""

SOME, MIDDLE, BIG = (bytes(range(256)) * n for n in (20, 50, 150))

PLACE = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A file system in memory, where there is one: each case makes some fifty files."""

ACTIONS = {
    "compile:a@x": {"a.o": SOME, "functions.json": b'{"a": 1}'},
    "compile:b@x": {"b.o": SOME + b"b", "functions.json": b'{"b": 2}'},
    "weights:w": {"w/params.bin": BIG, "w/more.bin": MIDDLE, "config.json": b"{}"},
    "archive:x": {"lib.a": MIDDLE + b"lib", "empty": b"", "run": b"#!"},
}
LINKED = {"weights:w"}

QUICK = settings(max_examples=500, derandomize=True, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=4 * MUTATIONS, suppress_health_check=list(HealthCheck))

fractions = st.floats(0, 1, exclude_max=True)
damages = st.one_of(
    st.tuples(st.just("flip"), fractions, st.integers(1, 255)),
    st.tuples(st.just("truncate"), fractions, st.just(0)),
    st.tuples(st.just("swap"), fractions, fractions),
    st.tuples(st.just("grow"), fractions, st.integers(1, 300)),
    st.tuples(st.just("delete"), st.just(0), st.just(0)),
    st.tuples(st.just("exchange"), fractions, st.just(0)),
    st.tuples(st.just("lines"), fractions, fractions),
)
campaign = st.lists(st.tuples(fractions, damages, st.booleans()), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def template():
    """A sound store with a tree that holds its outputs, as a closed run leaves them."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir=PLACE) as name:
        patch.setattr(blobs, "HASHED_BYTES", CHEAP)
        patch.setattr(outputs, "HASHED_BYTES", CHEAP)
        patch.setattr(blobs, "COPIED_BYTES", COPIED)
        root = Path(name) / "project"
        yield root, fill(root)


def fill(root):
    store, stat_cache, workspace = (
        Store(root / "store", sync=False),
        StatCache(root / "memo"),
        Workspace(root / "workspace"),
    )
    records = {name: finish(store, root / "scratch", name, files) for name, files in ACTIONS.items()}
    for name, record in records.items():
        out = folder(root, name)
        store.materialise(record, out, (), stat_cache, link=name in LINKED)
        workspace.set(name, Entry(record.key, out.name, dict(record.outputs)))
    store.close()
    stat_cache.save()
    workspace.close()
    shutil.rmtree(root / "scratch")
    return records


def folder(root, name):
    return root / "tree" / name.replace(":", "_")


def files_below(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def hurt(path, others, damage, *, keep_times):
    """Do one damage to one file."""
    kind, first, second = damage
    state = path.stat()
    data = bytearray(path.read_bytes())
    path.chmod(0o644)
    if kind == "delete":
        path.unlink()
        return
    if kind == "exchange":
        other = others[int(first * len(others))]
        mine, theirs = path.read_bytes(), other.read_bytes()
        other.chmod(0o644)
        other.write_bytes(mine)
        path.write_bytes(theirs)
        return
    if kind == "flip" and data:
        data[int(first * len(data))] ^= second
    elif kind == "truncate":
        del data[int(first * len(data)) :]
    elif kind == "grow":
        at = int(first * len(data))
        data[at:at] = os.urandom(second)
    elif kind == "swap" and data:
        one, two = int(first * len(data)), int(second * len(data))
        length = max(1, min(16, abs(one - two)))
        data[one : one + length], data[two : two + length] = data[two : two + length], data[one : one + length]
    elif kind == "lines":
        lines = bytes(data).splitlines(keepends=True)
        if lines:
            one, two = int(first * len(lines)), int(second * len(lines))
            lines[one], lines[two] = lines[two], lines[one]
        data = bytearray(b"".join(lines))
    with path.open("r+b") as file:  # in place, so that hard links share it
        file.write(data)
        file.truncate(len(data))
    if keep_times:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def a_build(root, records):
    """What a run does with every action; ends with the right bytes in the tree, or fails the test."""
    store, stat_cache, workspace = (
        Store(root / "store", sync=False),
        StatCache(root / "memo"),
        Workspace(root / "workspace"),
    )
    for name, files in ACTIONS.items():
        out, key = folder(root, name), records[name].key
        entry = workspace.get(name)
        damaged = outputs.damaged(entry.outputs, str(out), stat_cache, store.blobs) if entry is not None else []
        if entry is not None and entry.key == key and not damaged:
            assert contents(out) == files, "the workspace was believed, and the tree is wrong"
            continue
        found = store.lookup(key)
        record = found.record if found is not None else finish(store, root / "scratch", name, files)
        previous = entry.outputs if entry is not None else ()
        store.materialise(record, out, previous, stat_cache, link=name in LINKED)
        workspace.set(name, Entry(record.key, out.name, dict(record.outputs)))
        assert {path: (out / path).read_bytes() for path in files} == files, "what was placed is wrong"
        assert store.lookup(key) is not None, "building did not heal the store"
    store.close()
    stat_cache.save()
    workspace.close()


def run_campaign(template, plan, below):
    source, records = template
    with tempfile.TemporaryDirectory(dir=PLACE) as name:
        root = Path(name) / "project"
        shutil.copytree(source, root)  # times are kept, inodes are not
        for where, damage, keep_times in plan:
            files = files_below(root / below)
            if files:
                hurt(files[int(where * len(files))], files, damage, keep_times=keep_times)
        a_build(root, records)
        a_build(root, records)


@given(plan=campaign)
@QUICK
def test_a_damaged_store_workspace_memo_or_tree(template, plan):
    run_campaign(template, plan, ".")


@given(plan=campaign)
@QUICK
def test_a_damaged_store_alone(template, plan):
    run_campaign(template, plan, "store")


@pytest.mark.slow
@given(plan=campaign)
@LONG
def test_a_long_campaign(template, plan):
    run_campaign(template, plan, ".")


@given(where=fractions, damage=damages)
@settings(QUICK, max_examples=300)
def test_damage_in_place(template, where, damage):
    """Nothing was copied: the inodes are those known by heart, and hard links lead from the tree to the blobs."""
    with tempfile.TemporaryDirectory(dir=PLACE) as name:
        root = Path(name)
        records = fill(root)
        files = [*files_below(root / "store"), *files_below(root / "tree")]
        hurt(files[int(where * len(files))], files, damage, keep_times=True)
        a_build(root, records)


@given(data=st.binary(max_size=400))
@settings(QUICK, max_examples=300)
def test_any_bytes_as_a_record_or_a_message(data):
    assert decode(data) is None
    assert unpack(data) is None or decode(unpack(data)) is None


@given(where=fractions, bit=st.integers(0, 7), which=st.sampled_from(sorted(ACTIONS)))
@settings(QUICK, max_examples=300)
def test_any_flipped_bit_of_a_record_is_noticed(template, where, bit, which):
    record = template[1][which]
    for whole, read in ((encode(record), decode), (pack(record), lambda d: decode(unpack(d) or b""))):
        data = bytearray(whole)
        data[int(where * len(data))] ^= 1 << bit
        assert read(bytes(data)) in (None, record)


@given(
    name=st.text(max_size=30),
    paths=st.dictionaries(st.text(min_size=1, max_size=20), st.binary(max_size=20), max_size=4),
)
@settings(QUICK, max_examples=200)
def test_any_names_are_stored_or_refused(name, paths):
    with tempfile.TemporaryDirectory(dir=PLACE) as folder_name:
        root = Path(folder_name)
        store = Store(root / "store", sync=False)
        try:
            (root / "in").mkdir()
            files = {}
            for number, (path, data) in enumerate(paths.items()):
                (root / "in" / str(number)).write_bytes(data)
                files[path] = root / "in" / str(number)
            record = store.commit(ActionResult(key=key_of({"name": name}), name=name, fields={"name": name}), files)
            found = store.lookup(record.key)
            assert found is None or found.record == record
            if found is not None:
                store.materialise(record, root / "tree")
                assert {path: (root / "tree" / path).read_bytes() for path in paths} == paths
        except SlipwayError:
            pass
        finally:
            store.close()
