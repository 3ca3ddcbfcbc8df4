"""The bundle step: what an app ships beside the library, without a second copy of it."""

from __future__ import annotations

import pytest
from fake_models import model

from pipeline.errors import StepError
from pipeline.steps import bundle

PATTERNS = ["tokenizer*", "*config.json", "vocab.*"]


@pytest.fixture
def params_dir(tmp_path):
    folder = tmp_path / "params"
    folder.mkdir()
    (folder / "params_shard_0.bin").write_bytes(b"\1" * 1000)
    (folder / "tensor-cache.json").write_text("{}")
    return folder


@pytest.fixture
def weights_dir(tmp_path):
    folder = tmp_path / "weights"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"\2" * 500)
    (folder / "tokenizer.json").write_text("tokens")
    (folder / "config.json").write_text("config")
    (folder / "1_Pooling/config.json").write_text("pooling")
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_parameters_and_chosen_files_are_hard_links(job, params_dir, weights_dir):
    work = job({"model": model("bert"), "files": PATTERNS}, {"params": params_dir, "weights": weights_dir})
    facts = bundle.run(work)
    assert contents(work.out) == {
        "1_Pooling/config.json": b"pooling",
        "config.json": b"config",
        "params_shard_0.bin": b"\1" * 1000,
        "tensor-cache.json": b"{}",
        "tokenizer.json": b"tokens",
    }
    assert facts == {"files": 5, "bytes": 1021, "unmatched": ["vocab.*"]}
    assert (work.out / "params_shard_0.bin").samefile(params_dir / "params_shard_0.bin")
    assert (work.out / "tokenizer.json").samefile(weights_dir / "tokenizer.json")


def test_a_view_of_symbolic_links_becomes_hard_links_to_the_files(job, params_dir, tmp_path):
    view = tmp_path / "view"
    view.mkdir()
    for path in params_dir.iterdir():
        (view / path.name).symlink_to(path)
    work = job({"model": model("bert"), "files": []}, {"params": view})
    bundle.run(work)
    for path in work.out.iterdir():
        assert not path.is_symlink()
        assert path.samefile(params_dir / path.name)


def test_weights_without_such_files_are_fine_as_long_as_something_ships(job, params_dir, tmp_path):
    (tmp_path / "bare").mkdir()
    work = job({"model": model("bert"), "files": PATTERNS}, {"params": params_dir, "weights": tmp_path / "bare"})
    assert bundle.run(work)["unmatched"] == sorted(PATTERNS)


def test_an_empty_bundle_is_an_error(job, weights_dir):
    work = job({"model": model("bert"), "files": ["*.spm"]}, {"weights": weights_dir})
    with pytest.raises(StepError, match=r"nothing to bundle for bert-f32: .* none of its files matches \*.spm"):
        bundle.run(work)


def test_one_name_with_two_contents_is_an_error(job, params_dir, weights_dir):
    (weights_dir / "tensor-cache.json").write_text("another")
    work = job(
        {"model": model("bert"), "files": ["tensor-*", "config.json"]}, {"params": params_dir, "weights": weights_dir}
    )
    with pytest.raises(StepError, match=r"tensor-cache.json is in the parameters and in the weights of bert-f32"):
        bundle.run(work)


def test_one_name_with_one_content_is_taken_once(job, params_dir, weights_dir):
    (weights_dir / "tensor-cache.json").write_text("{}")
    work = job({"model": model("bert"), "files": ["tensor-*"]}, {"params": params_dir, "weights": weights_dir})
    assert bundle.run(work)["files"] == 2
