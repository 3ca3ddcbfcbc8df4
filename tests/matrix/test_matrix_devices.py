"""The section `devices`: what is wrong with it, and where."""

from __future__ import annotations

import pytest

from pipeline.matrix.devices import memory_bytes

DEVICE = "devices:\n  phone: {gpu: adreno, ram: 8GB, os: android"


@pytest.mark.parametrize(
    ("written", "size"), [("4GB", 4 * 10**9), ("4GiB", 4 << 30), ("1.5 GB", 1_500_000_000), ("512MB", 512_000_000)]
)
def test_sizes_of_memory(written, size):
    assert memory_bytes(written) == size


def test_half_of_the_memory_is_for_a_model_unless_it_is_said(expand, good):
    (plain,) = expand(good + DEVICE + "}\n").devices
    assert (plain.ram, plain.usable, plain.backends, plain.models) == (8 * 10**9, 4 * 10**9, ("android-arm64",), None)
    assert expand(good + DEVICE + ", usable: 0.75}\n").devices[0].usable == 6 * 10**9
    assert expand(good + DEVICE + ", reserved: 1GB}\n").devices[0].usable == 7 * 10**9


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (", usable: 0.5, reserved: 1GB", "`usable` and `reserved` say the same thing twice"),
        (", reserved: 8GB", "nothing is left of 8GB for a model"),
        (", usable: 1.5", "`1.5` is out of bounds"),
        (", usable: yes", "devices.phone.usable"),
        (", usable: '0.5'", "devices.phone.usable"),
        (", backends: [ios]", "`ios` cannot run on phone: it is for ios, and the device runs android"),
        (", backends: [web]", "no cell is compiled for backend `web`"),
        (", models: [minilm-f23]", "unknown model `minilm-f23`\n  hint: did you mean `minilm-f32`?"),
        (", models: []", "this is empty"),
        (", gpus: adreno", "unknown key\n  hint: did you mean `gpu`?"),
    ],
)
def test_mistakes(refuse, good, more, said):
    message = refuse(good + DEVICE + more + "}\n")
    assert message.startswith("targets.yaml:20:")
    assert said in message


def test_a_backend_that_is_made_for_another_gpu(refuse, good):
    text = good.replace("{preset: android}", '{preset: "android:mali"}')
    said = "`android-arm64` cannot run on phone: it is made for GPUs of the family mali, and the device's is adreno"
    assert said in refuse(text + DEVICE + ", backends: [android-arm64]}\n")
    assert "no backend of the matrix is for android and a GPU of the family adreno" in refuse(text + DEVICE + "}\n")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("adreno", "adrenno", "did you mean `adreno`?"),
        ("8GB", "8 gigabytes", "is not a size of memory\n  hint: write a number and MB, GB, MiB or GiB, like 4GB"),
        ("8GB", "9" * 400 + "GB", "is not a size of memory"),
        ("8GB", "8", "write a number and MB, GB, MiB or GiB, like 4GB"),
        ("os: android", "os: andriod", "did you mean `android`?"),
    ],
)
def test_slips_in_a_value(refuse, good, old, new, said):
    assert said in refuse(good + DEVICE.replace(old, new) + "}\n")


def test_a_model_that_no_backend_of_the_device_has(refuse, good):
    text = good.replace("[ios, android-arm64]\n", "[ios, android-arm64]\n  exclude: [{model: decoder, backend: ios}]\n")
    device = "devices:\n  phone: {gpu: apple, ram: 8GB, os: ios, models: [minilm, decoder]}\n"
    assert "no cell of the matrix compiles `decoder` for a backend of phone" in refuse(text + device)
