"""What is wrong in one place of targets.yaml: message, position and hint."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline import __version__

CASES = {
    "unknown key": (
        ("version: 1\n", "version: 1\nmodel: {}\n"),
        "targets.yaml:2:1: model: unknown key\n  hint: did you mean `models`? known keys: backends, devices,",
    ),
    "unknown key of a preset's backend": (
        ("{preset: iphone}", "{preset: iphone, devise: {}}"),
        "targets.yaml:13:25: backends.ios.devise: unknown key\n  hint: did you mean `device`?",
    ),
    "unknown key of an include": (
        ("  backend: [ios, android-arm64]\n", "  backend: [ios]\n  include: [{model: minilm, backed: ios}]\n"),
        "targets.yaml:19:29: matrix.include[0].backed: unknown key\n  hint: did you mean `backend`? known keys:",
    ),
    "number for text": (
        ("{preset: iphone}", "{preset: iphone, deployment_target: 14.10}"),
        (
            "targets.yaml:13:44: backends.ios.deployment_target: 14.10 is a number to YAML, not text\n"
            '  hint: write it in quotes: "14.10"'
        ),
    ),
    "malformed deployment target": (
        ("{preset: iphone}", '{preset: iphone, deployment_target: "14"}'),
        "targets.yaml:13:44: backends.ios.deployment_target: `14` is not an OS version\n  hint: write major and minor",
    ),
    "missing key": (
        ("    factory: recipe.py:build\n    variants:\n      q4", "    weights: {package: p}\n    variants:\n      q4"),
        "targets.yaml:9:5: models.decoder.weights: the key `version` is missing\n  hint: add `version:`",
    ),
    "two kinds of weights": (
        ("  decoder:\n", "  decoder:\n    weights: {url: 'https://h/f', path: f}\n"),
        "targets.yaml:9:5: models.decoder.weights: weights come from exactly one place\n  hint: give one of package, ",
    ),
    "unknown key of weights": (
        ("  decoder:\n", "  decoder:\n    weights: {hf: a/b, revision: main, version: '1'}\n"),
        (
            "targets.yaml:9:40: models.decoder.weights.version: unknown key\n"
            "  hint: did you mean `revision`? known keys: files, hf, revision, subdir"
        ),
    ),
    "weights outside": (
        ("  decoder:\n", "  decoder:\n    weights: {package: p, version: '1', subdir: ../x}\n"),
        "targets.yaml:9:49: models.decoder.weights.subdir: `../x` is not a path inside the weights",
    ),
    "password in a URL": (
        ("  decoder:\n", "  decoder:\n    weights: {url: 'https://me:secret@h/f'}\n"),
        "targets.yaml:9:20: models.decoder.weights.url: `https://h/f` is not an http(s) URL of a file",
    ),
    "no source": (
        ("    factory: recipe.py:build\n    variants:\n      q4", "    variants:\n      q4"),
        "targets.yaml:8:3: models.decoder: this model has no source\n  hint: give it exactly one of factory, onnx,",
    ),
    "two sources": (
        ("  decoder:\n", "  decoder:\n    onnx: x.onnx\n"),
        "targets.yaml:8:3: models.decoder: this model has 2 sources (factory, onnx)",
    ),
    "mlc with a source": (
        ("  decoder:\n", "  decoder:\n    compiler: mlc\n"),
        "targets.yaml:8:3: models.decoder: compiler mlc takes weights and no other source\n  hint: remove factory",
    ),
    "not a function": (
        ("factory: recipe.py:build\n    variants:\n      q4", "factory: recipe.py\n    variants:\n      q4"),
        (
            "targets.yaml:9:14: models.decoder.factory: `recipe.py` does not name a function in a file\n"
            "  hint: write it as path/to/file.py:function"
        ),
    ),
    "bad name": (
        ("      q4:", "      q=4:"),
        "targets.yaml:11:7: models.decoder.variants.q=4: `q=4` is not a name\n  hint: use letters, digits",
    ),
    "short prefix": (
        ("q4: {}", "q4: {system_lib_prefix: seven_7}"),
        (
            "targets.yaml:11:31: models.decoder.variants.q4.system_lib_prefix: the prefix `seven_7` is too short\n"
            "  hint: use 8 or more characters"
        ),
    ),
    "prefix with bad characters": (
        ("q4: {}", "q4: {system_lib_prefix: my-model_}"),
        "targets.yaml:11:31: models.decoder.variants.q4.system_lib_prefix: the prefix `my-model_` has bad characters",
    ),
    "prefix that C cannot spell": (
        ("q4: {}", "q4: {system_lib_prefix: 3billion_}"),
        "targets.yaml:11:31: models.decoder.variants.q4.system_lib_prefix: the prefix `3billion_` has bad characters",
    ),
    "text for a list": (
        ("model: [minilm, decoder]", "model: minilm"),
        "targets.yaml:17:10: matrix.model: expected a list, not text\n  hint: write it in brackets: [minilm]",
    ),
    "empty list": (
        ("model: [minilm, decoder]", "model: []"),
        "targets.yaml:17:3: matrix.model: this is empty",
    ),
    "nothing for a mapping": (
        ("  ios: {preset: iphone}", "  ios:"),
        "targets.yaml:13:7: backends.ios: expected a mapping, not nothing",
    ),
    "unknown kind of product": (
        ("matrix:", "products: {p: {kind: xcframwork, backends: [ios]}}\nmatrix:"),
        "targets.yaml:16:22: products.p.kind: `xcframwork` is not possible here\n  hint: did you mean `xcframework`?",
    ),
    "newer version": (
        ("version: 1\n", "version: 2\nwhatever: {}\n"),
        (
            f"targets.yaml:1:10: this file is of version 2, and Slipway {__version__} understands version 1 alone\n"
            "  hint: write `version: 1`, or take the newer Slipway that it was written for"
        ),
    ),
    "no version": (("version: 1\n", ""), "targets.yaml:1:1: the key `version` is missing\n  hint: add `version: 1`"),
    "text that would break the message": (
        ("version: 1\n", 'version: "1\\n"\n'),
        "targets.yaml:1:10: version: `1\\n` is not possible here\n  hint: did you mean `1`? known values: 1",
    ),
    "version in quotes": (
        ("version: 1\n", 'version: "1"\n'),
        "targets.yaml:1:10: version: `1` is not possible here\n  hint: write it without quotes",
    ),
    "malformed": (("{preset: iphone}", "{preset: iphone"), "targets.yaml:14:16: this is not YAML: "),
    "path and requirements": (
        ("version: 1\n", "version: 1\ntoolchains: {t: {path: env, pre: true}}\n"),
        "targets.yaml:2:14: toolchains.t: an existing environment (`path`) takes no requirements",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_named_with_its_place_and_a_hint(case, good, refuse):
    (old, new), message = CASES[case]
    assert old in good
    told = refuse(good.replace(old, new, 1))
    assert told.startswith(message)
    assert "\n  hint: " in told


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(good, refuse):
    text = good.replace("version: 1", "name: a b\nversion: 1").replace("iphone", "iphone, archh: x")
    told = refuse(text + "  backend: [web]\n")
    assert told.splitlines()[0] == "targets.yaml: 3 problems"
    assert [line.split(": ")[0] for line in told.splitlines()[1:] if line.startswith("targets.yaml")] == [
        "targets.yaml:1:7",
        "targets.yaml:14:25",
        "targets.yaml:20:3",
    ]
    assert "duplicate key `backend`" in told


def test_two_missing_keys_of_one_mapping_are_both_reported(good, refuse):
    told = refuse(good.replace("matrix:", "devices: {d: {os: android}}\nmatrix:"))
    assert "the key `gpu` is missing" in told
    assert "the key `ram` is missing" in told


def test_a_misspelt_key_does_not_pass_as_an_option(good, refuse):
    told = refuse(good.replace("q4: {}", "q4: {system_lib_prefx: decoder_}"))
    assert told.startswith(
        "targets.yaml:11:12: models.decoder.variants.q4.system_lib_prefx: this looks like `system_lib_prefix`"
    )


def test_an_empty_mapping_lacks_everything(refuse):
    assert refuse("{}\n").startswith("targets.yaml: 2 problems\ntargets.yaml:1:1: the key `version` is missing")


def test_a_model_to_compile_lacks_what_says_where_for(refuse):
    told = refuse("version: 1\nmodels: {m: {factory: recipe.py:build, variants: {a: {}}}}\nproducts: {}\n")
    assert told == (
        "targets.yaml: 2 problems\n"
        "targets.yaml:1:1: the key `backends` is missing\n"
        "  hint: add `backends:`, which says where m is compiled for\n"
        "targets.yaml:1:1: the key `matrix` is missing\n  hint: add `matrix:`, which says where m is compiled for"
    )


def test_a_file_that_is_not_a_mapping(refuse):
    assert refuse("- 1\n").startswith("targets.yaml:1:1: expected a mapping, not a list")


def test_importing_the_package_loads_neither_pydantic_nor_yaml():
    code = "import sys, pipeline.matrix; print([m for m in ('pydantic', 'yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
