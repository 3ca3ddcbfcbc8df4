"""Settings are read the way Xcode reads them."""

from __future__ import annotations

import pytest

from pipeline.errors import FormatError
from pipeline.proofs.xcconfig import Settings, linker_flags

PHONE = {"sdk": "iphoneos18.0", "arch": "arm64", "config": "Release"}
MAC = {**PHONE, "sdk": "macosx15.0"}


def value(text: str, setting: str = "X", build=PHONE, **given: str) -> str:
    return Settings(text, "kit.xcconfig").value(setting, build, given)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("X = a", "a"),
        ("X = a // why", "a"),
        ("// X = a", ""),
        ("X = a\nX = b", "b"),
        ("X = a\nX[sdk=iphoneos*] = b", "b"),
        ("X[sdk=iphoneos*] = b\nX = a", "b"),
        ("X = a\nX[sdk=macosx*] = b", "a"),
        ("X[sdk=iphoneos*][arch=arm64] = c\nX[sdk=iphoneos*] = b", "c"),
        ("X[config=Debug] = a", ""),
        ("X = $(inherited) a", " a"),
        ("Y = a\nX = $(Y)$(Y)", "aa"),
        ("X = ${Y}\nY = a", "a"),
        ("X = $(Y)", "given"),
        ("X = $(Z:default=NO)", "NO"),
        ("Y_YES = a\nY_NO = b\nX = $(Y_$(Z:default=NO))", "b"),
        ('#include "other.xcconfig"\nX = a', "a"),
        ("X =", ""),
    ],
)  # fmt: skip
def test_value(text, want):
    assert value(text, Y="given") == want


def test_conditions_choose_by_sdk():
    text = "X[sdk=iphoneos*] = phone\nX[sdk=macosx*] = mac"
    assert (value(text, build=PHONE), value(text, build=MAC)) == ("phone", "mac")


def test_words_keep_quoted_spaces():
    settings = Settings('X = -force_load "$(DIR)/a b.a"', "kit.xcconfig")
    assert settings.words("X", PHONE, {"DIR": "/my dir"}) == ["-force_load", "/my dir/a b.a"]


def test_a_circle_ends():
    with pytest.raises(FormatError, match="circle"):
        value("X = $(Y)\nY = $(X)")


def test_a_line_that_is_no_setting_is_named():
    with pytest.raises(FormatError) as caught:
        value("X = a\nnonsense")
    assert str(caught.value.where) == "kit.xcconfig:2"


def test_only_the_linkers_words_are_left():
    words = ["-Wl,-u,_a", "-Xlinker", "-x", "-force_load", "m.a", "-framework", "Metal", "-lz", "-Wl,-export_dynamic"]
    assert linker_flags(words) == ["-u", "_a", "-x", "-force_load", "m.a", "-export_dynamic"]
