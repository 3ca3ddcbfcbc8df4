"""Models that are files for other runtimes, in targets.yaml."""

from __future__ import annotations

import pytest

from pipeline.matrix.source import WeightsSource

HUB = "gguf: {hf: a/b, revision: main, file: sub/m.gguf}"


def with_model(good, written):
    return good.replace("backends:\n", f"  extra:\n    {written}\nbackends:\n", 1)


@pytest.mark.parametrize(
    ("written", "source"),
    [
        (HUB, WeightsSource("hf", hf="a/b", revision="main", files=("sub/m.gguf",))),
        ('litert: {url: "https://h/m.task"}', WeightsSource("url", url="https://h/m.task", extract=False)),
        (
            'litert: {package: p, version: "1.0", file: m.tflite}',
            WeightsSource("package", package="p", version="1.0", files=("m.tflite",)),
        ),
        ("gguf: {path: ./recipe.py}", WeightsSource("path", path="recipe.py")),
    ],
)
def test_a_file_comes_from_where_weights_come_from(expand, good, written, source):
    matrix = expand(with_model(good, written))
    assert [one.name for one in matrix.files] == ["extra"]
    assert matrix.files[0].source == source
    assert matrix.files[0].kind == written.partition(":")[0]
    assert "extra" not in {model.model for model in matrix.models}


def test_steps_for_models_are_for_them_too(expand, good):
    text = with_model(good, HUB) + "steps:\n  s: {command: [sh], for: model, models: [extra], outputs: ['{model}']}\n"
    assert [(step.subject, step.outputs) for step in expand(text).steps] == [("extra", ("extra",))]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("gguf: {hf: a/b, revision: main}", "models.extra.gguf: the key `file` is missing"),
        ("gguf: {hf: a/b, path: recipe.py}", "a file comes from exactly one place"),
        ("gguf: {hf: a/b, revision: main, files: [x]}", "did you mean `file`?"),
        ("gguf: {hf: a/b, revision: main, file: ../x}", "is not a path inside the weights"),
        ("gguf: {path: nothere.gguf}", "there is no file `nothere.gguf`"),
        ("gguf: {path: .}", "holds this project itself"),
        (f"{HUB}\n    variants: {{a: {{}}}}", "a model of `gguf` is not compiled, and takes no `variants`"),
        (f"{HUB}\n    litert: {{path: recipe.py}}", "this model has 2 sources (gguf, litert)"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(refuse, good, written, said):
    message = refuse(with_model(good, written))
    assert said in message
    assert "targets.yaml:1" in message


def test_it_has_no_place_in_the_matrix(refuse, good):
    text = with_model(good, HUB).replace("[minilm, decoder]", "[minilm, decoder, extra]")
    assert "`extra` is a file for another runtime, which is not compiled\n  hint: remove it here" in refuse(text)


def test_its_name_is_no_variants(refuse, good):
    text = with_model(good, HUB).replace("  extra:", "  minilm-F32:")
    assert "`minilm-F32` is also the name of" in refuse(text)
