"""A checkout's digest: what git would show, the same wherever it is and however it was committed."""

from __future__ import annotations

import shutil

import fake_checkout
import pytest
from fake_checkout import commit, git, mlc, tvm

from pipeline.errors import StepError
from pipeline.native.source_tree import mirror, read_tree


@pytest.fixture
def checkout(tmp_path):
    return mlc(tmp_path / "mlc", tvm(tmp_path / "tvm"))


def test_two_clones_have_one_digest(checkout, tmp_path):
    git(tmp_path, "clone", "-q", "--recurse-submodules", str(checkout), "clone")
    one, other = read_tree(checkout), read_tree(tmp_path / "clone")
    assert one.version == other.version
    assert "3rdparty/tvm/src/vm/module.c" in one.files
    assert not any(path.startswith(".git/") for path in one.files)


@pytest.mark.parametrize("path", ["cpp/engine.c", "3rdparty/tvm/src/module.c", "new.c", "3rdparty/tvm/new/new.c"])
def test_an_edit_counts_and_its_commit_does_not(checkout, path):
    before = read_tree(checkout).digest
    (checkout / path).parent.mkdir(exist_ok=True)
    (checkout / path).write_text("int changed;\n")
    edited = read_tree(checkout).digest
    assert edited != before
    commit(checkout / "3rdparty/tvm" if path.startswith("3rd") else checkout)
    assert read_tree(checkout).digest == edited


def test_a_deleted_file_and_a_mode_count(checkout):
    before = read_tree(checkout).digest
    (checkout / "cpp/engine.c").chmod(0o755)
    assert read_tree(checkout).digest != before
    (checkout / "cpp/engine.c").unlink()
    tree = read_tree(checkout)
    assert "cpp/engine.c" not in tree.files
    git(checkout, "checkout", "-q", "cpp/engine.c")
    assert read_tree(checkout).digest == before


def test_what_git_ignores_does_not_count(checkout):
    before = read_tree(checkout).digest
    (checkout / "3rdparty/tvm/config.cmake").write_text("set(USE_OPENCL ON)\n")
    assert read_tree(checkout).digest == before


def test_looking_changes_nothing(checkout):
    (checkout / "cpp/engine.c").write_text("int changed;\n")
    before = fake_checkout.checksum(checkout)
    read_tree(checkout)
    assert fake_checkout.checksum(checkout) == before


def test_a_folder_without_git_has_the_same_digest(checkout, tmp_path):
    expected = read_tree(checkout)
    plain = tmp_path / "plain"
    shutil.copytree(checkout, plain, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    tree = read_tree(plain)
    assert tree.files == expected.files
    assert tree.version == expected.version


def test_a_directory_inside_a_repository(tmp_path):
    whole = tmp_path / "whole"
    fake_checkout.write(whole / "vendored/tvm", fake_checkout.SOURCES_TVM)
    fake_checkout.write(whole, {"other.c": "int other;\n"})
    commit(whole)
    inner = whole / "vendored/tvm"
    before = read_tree(inner)
    assert set(before.files) == set(fake_checkout.SOURCES_TVM)
    (whole / "other.c").write_text("int changed;\n")
    assert read_tree(inner) == before
    (inner / "src/module.c").write_text("int changed;\n")
    assert read_tree(inner).digest != before.digest


def test_a_submodule_that_was_not_fetched_is_another_tree(checkout, tmp_path):
    git(tmp_path, "clone", "-q", str(checkout), "clone")
    assert read_tree(tmp_path / "clone").digest != read_tree(checkout).digest


def test_a_copy_in_the_place_of_a_submodule_is_taken(checkout, tmp_path):
    git(tmp_path, "clone", "-q", str(checkout), "clone")
    copy = tmp_path / "clone/3rdparty/tvm"
    copy.rmdir()
    shutil.copytree(checkout / "3rdparty/tvm", copy, ignore=shutil.ignore_patterns(".git"))
    assert read_tree(tmp_path / "clone").version == read_tree(checkout).version


def test_no_checkout(tmp_path):
    with pytest.raises(StepError, match="no such directory"):
        read_tree(tmp_path / "nothing")


def test_the_mirror_shows_the_files_and_nothing_else(checkout, tmp_path):
    (checkout / "3rdparty/tvm/config.cmake").write_text("set(USE_OPENCL ON)\n")
    (checkout / "link").symlink_to("cpp/engine.c")
    (checkout / "elsewhere").symlink_to("/nowhere/else")
    tree, shown = read_tree(checkout), tmp_path / "shown"
    mirror(tree, shown)
    (shown / "made-by-a-build").write_text("")
    (shown / "rust/Cargo.lock").write_text("changed by cargo\n")
    engine = shown / "cpp/engine.c"
    state = engine.lstat()
    mirror(tree, shown)
    present = {path.relative_to(shown).as_posix() for path in shown.rglob("*") if path.is_symlink() or path.is_file()}
    assert present == set(tree.files)
    assert engine.lstat().st_ctime_ns == state.st_ctime_ns
    assert (shown / "link").readlink().as_posix() == "cpp/engine.c"
    assert (shown / "rust/Cargo.lock").read_text() == (checkout / "rust/Cargo.lock").read_text()
    assert not (shown / "rust/Cargo.lock").is_symlink()
    (checkout / "cpp/engine.c").unlink()
    mirror(read_tree(checkout), shown)
    assert not engine.is_symlink()


def test_every_directory_is_watched(checkout):
    folders = {path.relative_to(checkout).as_posix() for path in read_tree(checkout).directories}
    assert {".", "cpp", "3rdparty", "3rdparty/tvm", "3rdparty/tvm/src/vm"} <= folders
