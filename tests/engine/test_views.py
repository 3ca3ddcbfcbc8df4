"""What a step sees of upstream actions: what the key names, from the store, whatever lies in the tree."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pipeline.action import Action, Upstream
from pipeline.engine.views import View, Views
from pipeline.errors import StepError
from pipeline.files.sharing import show
from pipeline.store.action_result import ActionResult
from pipeline.store.stat_cache import StatCache
from pipeline.store.store import Store
from pipeline.store.workspace import Entry, Workspace

LARGE = b"large" * 400_000
MIDDLE = b"middle" * 2000


@pytest.fixture
def store(tmp_path: Path):
    opened = Store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def weights(tmp_path: Path, store: Store) -> Action[None]:
    """An action that reads `weights:m`, whose outputs are in the store and in the tree."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for name, data in {"config.json": b"{}", "model.bin": LARGE, "tokens": MIDDLE, "tool": MIDDLE}.items():
        (scratch / name).write_bytes(data)
    (scratch / "tool").chmod(0o755)
    (scratch / "link").symlink_to("tokens")
    record = store.commit(ActionResult("a" * 64, "weights:m"), scratch)
    store.materialise(record, tmp_path / "build/weights/m")
    Workspace(tmp_path / "workspace").set("weights:m", Entry(record.key, "build/weights/m", dict(record.outputs)))
    return reader()


def reader(*only: str) -> Action[None]:
    edges = {"weights": Upstream("weights:m", only)}
    return Action("params", "m", run=print, params=None, upstream=edges)  # type: ignore[arg-type]


@pytest.fixture
def views(tmp_path: Path, store: Store, weights: Action[None]) -> Views:
    return Views(tmp_path, Workspace(tmp_path / "workspace"), store, StatCache())


def view(views: Views, action: Action[None]) -> View:
    return views.of(action)["weights"]


def test_it_is_what_was_made_whatever_the_tree_holds(views, weights, tmp_path):
    for path in (tmp_path / "build/weights/m").iterdir():
        path.unlink()
        path.write_text("garbage")
    folder = view(views, weights).folder
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found == {"config.json": b"{}", "model.bin": LARGE, "tokens": MIDDLE, "tool": MIDDLE, "link": MIDDLE}
    assert (folder / "tool").stat().st_mode & 0o111
    assert not (folder / "tokens").stat().st_mode & 0o111
    assert (folder / "link").readlink() == Path("tokens")


def test_a_file_system_without_symlinks_has_what_the_key_names(views, store, tmp_path, monkeypatch):
    def symlink_to(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(Path, "symlink_to", symlink_to)
    seen = view(views, reader("tool", "*.bin", "tokens"))
    found = {path.name: path.read_bytes() for path in seen.folder.iterdir()}
    assert found == {"model.bin": LARGE, "tokens": MIDDLE, "tool": MIDDLE}
    assert not any(path.is_symlink() for path in seen.folder.iterdir())
    assert seen.is_still()
    os.utime(seen.folder / "tokens", ns=(0, 0))
    assert not seen.is_still()
    show(seen.folder, tmp_path / "shown" / "whole")
    assert (tmp_path / "shown/whole/tokens").read_bytes() == MIDDLE


def test_actions_that_read_the_same_see_the_same_directory(views, weights):
    assert view(views, weights).folder == view(views, weights).folder


def test_a_narrowed_edge_shows_just_its_files(views):
    assert [path.name for path in view(views, reader("*.json")).folder.iterdir()] == ["config.json"]


@pytest.mark.parametrize("name", ["config.json", "model.bin", "tokens"])
def test_a_write_while_a_step_reads_is_noticed(views, weights, name):
    seen = view(views, weights)
    assert seen.is_still()
    path = (seen.folder / name).resolve()
    path.chmod(0o644)
    good = path.read_bytes()
    path.write_bytes(b"x" * len(good))
    path.write_bytes(good)
    assert not seen.is_still(), "it was put back, but a step may have read the other"
    assert (view(views, weights).folder / name).read_bytes() == good
    assert view(views, weights).is_still()


@pytest.mark.parametrize("name", ["model.bin", "tokens", "tool"])
def test_a_blob_that_is_spoilt_between_its_check_and_the_step_is_noticed(views, weights, store, monkeypatch, name):
    good = LARGE if name == "model.bin" else MIDDLE
    checked = store.blobs.checked

    def spoilt(sha256, size=None):
        found = checked(sha256, size)
        if found is not None and size == len(good):
            Path(store.blobs.path(sha256)).chmod(0o644)
            Path(store.blobs.path(sha256)).write_bytes(bytes(size))
        return found

    monkeypatch.setattr(store.blobs, "checked", spoilt)
    seen = view(views, weights)
    assert not seen.is_still() or (seen.folder / name).read_bytes() == good


def test_what_the_store_has_lost_comes_from_the_tree(views, weights, store):
    for sha256, _ in list(store.blobs.all()):
        store.blobs.remove(sha256)
    assert (view(views, weights).folder / "model.bin").read_bytes() == LARGE


def test_what_both_have_lost_is_an_error(views, weights, store, tmp_path):
    for sha256, _ in list(store.blobs.all()):
        store.blobs.remove(sha256)
    path = tmp_path / "build/weights/m/model.bin"
    path.unlink()
    path.write_bytes(b"other" * 400_000)
    with pytest.raises(StepError, match="an output of weights:m was changed, and the store has lost it"):
        view(views, weights)


def test_of_outputs_that_stayed_in_the_remote_store_only_what_an_edge_reads_is_fetched(
    views, weights, store, monkeypatch, tmp_path
):
    wanted = []
    monkeypatch.setattr(store, "fetch", lambda record: wanted.append(set(record.outputs)) or True)
    entry = Workspace(tmp_path / "workspace").get("weights:m")
    assert views.fetch(Upstream("weights:m", ("*.json", "link")), entry, store.record(entry.key))
    assert wanted == [{"config.json", "link"}]
    assert not views.fetch(Upstream("weights:m"), entry, None)
