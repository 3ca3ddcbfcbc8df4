"""`doit deploy` and the devices of targets.yaml: a model that does not fit is refused before anything is pushed."""

from __future__ import annotations

import json

import pytest
from phones import SERIAL, list_files

from pipeline.documents.codec import dumps, load
from pipeline.documents.link_json import LaidOutFile, LaidOutLibrary, LinkJson
from pipeline.documents.manifest import Manifest, ManifestDevice, Takes
from pipeline.documents.memory import gigabytes

GB = 10**9
BIG, SMALL = "big-q4", "small-q4"
TAKES = (
    Takes(BIG, "mali", 25 * GB // 10),
    Takes(SMALL, "mali", GB),
    Takes(SMALL, "vulkan", 5 * GB),
    Takes("gemma", "llama.cpp", 3 * GB, at_least=True),
)


def device(name, *models, usable=2 * GB, os="android", takes=TAKES, backends=("mali", "vulkan")):
    return ManifestDevice(name, os, 2 * usable, usable, backends, models, takes)


@pytest.fixture
def ship(dist):
    """Two models in a layout for two backends, a GGUF file, bundles, and devices."""
    contents = {f"bundle/{model}/params_shard_0.bin": model for model in (BIG, SMALL, "gemma", "unknown")}
    contents |= {
        f"phone/{folder}/{model}/lib.tar": folder + model for folder in ("mali", "ios") for model in (BIG, SMALL)
    }
    contents["phone/gguf/gemma.gguf"] = "gemma"
    for path, text in contents.items():
        (dist / path).parent.mkdir(parents=True, exist_ok=True)
        (dist / path).write_text(text)
    libraries = tuple(
        LaidOutLibrary(model, backend, "prefix", f"{backend}/{model}/lib.tar", "tar", 1, "0")
        for backend in ("mali", "ios")
        for model in (BIG, SMALL)
    )
    link = LinkJson(
        2, "phone", "layout", "", "", {}, {}, (), (), (), (), None, libraries=libraries,
        files=(LaidOutFile("bundle:gemma", "gguf/gemma.gguf", 5, "0", "llama.cpp"),),
    )  # fmt: skip
    (dist / "phone/link.json").write_text(dumps(link))

    def make(*devices):
        list_files(dist)
        document = load(Manifest, dist / "manifest.json")
        text = dumps(Manifest(document.schema, document.products, (), document.files, devices=devices or None))
        (dist / "manifest.json").write_text(text)

    return make


def test_a_model_that_does_not_fit_is_refused_before_anything_is_pushed(phone, ship, deploy):
    ship(device("rokid", "Stand-In*"))
    status, out, err = deploy(f"bundle/{BIG}", f"bundle/{SMALL}")
    assert (status, out) == (3, "")
    assert err == (
        f"ERROR: {SERIAL} is rokid, where an app can use 2.00 GB of 4.00 GB, and it cannot have what is to be pushed:\n"
        f"    {BIG} takes 2.50 GB\n"
        f"  hint: nothing was pushed: name what fits (doit deploy bundle/{SMALL}); or, if an app can use more there, "
        "say so (`usable` or `reserved` of the device in targets.yaml), and run doit\n"
    )
    assert phone.pushes == 0
    assert not phone.sdcard.joinpath("slipway").exists()
    status, out, _ = deploy(f"bundle/{SMALL}")
    assert status == 0
    assert "rokid: 1 model of at most 2.00 GB\n" in out


def test_where_nothing_says_which_device_it_is_nothing_is_refused(phone, ship, deploy):
    for devices in ((), (device("rokid"),), (device("rokid", "Pixel*", "stand_in"),)):
        ship(*devices)
        status, out, err = deploy("--json")
        assert (status, json.loads(out)["as"]) == (0, None), err


def test_a_name_on_the_command_line_wins(phone, ship, deploy):
    ship(device("rokid", "Stand_In"), device("galaxy", usable=4 * GB), device("iphone", os="ios"))
    assert deploy(f"bundle/{BIG}")[0] == 3
    assert deploy(f"bundle/{BIG}", "--as", "galaxy")[0] == 0
    _, _, err = deploy("--as", "galxy")
    assert "no device 'galxy' is declared\n  hint: did you mean `galaxy`? declared are: rokid, galaxy, iphone" in err
    assert f"iphone runs ios, and {SERIAL} is behind adb" in deploy("--as", "iphone")[2]
    ship()
    assert "no device 'rokid' is declared\n  hint: declare it: `devices` in targets.yaml" in deploy("--as", "rokid")[2]


def test_two_devices_that_it_may_be_are_told(phone, ship, deploy):
    ship(device("one", "Stand_In"), device("two", "*"))
    status, _, err = deploy(f"bundle/{SMALL}")
    assert status == 3
    assert f"{SERIAL}, a Stand_In, is declared more than once: one, two\n  hint: say which it is: --as one" in err


def test_what_is_not_known_is_not_refused_and_said(phone, ship, deploy):
    ship(device("rokid", "Stand_In", usable=3 * GB))
    status, out, _ = deploy("bundle/gemma", "bundle/unknown", f"bundle/{SMALL}")
    assert status == 0
    assert "rokid: 1 model of at most 3.00 GB; of 2 it is not known\n" in out
    ship(device("rokid", "Stand_In", usable=2 * GB))
    assert "gemma takes at least 3.00 GB" in deploy("bundle/gemma")[2]


def test_a_folder_of_a_product_is_held_against_the_device_by_what_is_in_it(phone, ship, deploy, dist):
    ship(device("rokid", "Stand_In"))
    status, _, err = deploy("phone")
    assert status == 3
    assert f"    {BIG} takes 2.50 GB\n    gemma takes at least 3.00 GB\n" in err
    status, _, err = deploy(f"phone/mali/{SMALL}")
    assert (status, err) == (0, "")
    assert set(phone.files()) == {f"phone/mali/{SMALL}/lib.tar"}
    said = deploy(f"phone/ios/{SMALL}/")[2]
    assert f"{SMALL} is there for ios only, and the device takes mali, vulkan\n  hint: nothing was pushed: name" in said
    assert "usable" not in said
    assert "there is no product, bundle or folder 'phone/mal'" in deploy("phone/mal")[2]
    assert "gemma takes at least 3.00 GB" in deploy("phone/gguf")[2]


def test_the_library_that_travels_decides_where_two_backends_differ(phone, ship, deploy, dist):
    ship(device("rokid", "Stand_In", backends=("vulkan",), takes=(Takes(SMALL, "vulkan", 5 * GB),)))
    assert f"{SMALL} is there for mali only" in deploy(f"phone/mali/{SMALL}")[2]
    text = (dist / "phone/link.json").read_text().replace('"backend": "mali"', '"backend": "vulkan"')
    (dist / "phone/link.json").write_text(text)
    ship(device("rokid", "Stand_In"))
    assert f"{SMALL} takes {gigabytes(5 * GB)}" in deploy(f"phone/mali/{SMALL}")[2]
    assert deploy(f"bundle/{SMALL}")[0] == 0, "an app may have it for mali"


def test_json_says_it_too(phone, ship, deploy):
    ship(device("rokid", "Stand_In"))
    status, out, _ = deploy(f"bundle/{BIG}", "--json")
    assert (status, json.loads(out)["ok"]) == (3, False)
    assert json.loads(deploy(f"bundle/{SMALL}", "--json")[1])["as"] == "rokid"
