"""Several models in one archive: names, and everything that must not meet in one link."""

from __future__ import annotations

import pytest
from binary_builders import BUILDERS, FLAVOURS, Sym, coff_object, elf_object, tvm_model

from pipeline.binary.ar import Member, read_archive, write_archive
from pipeline.binary.merge import ModelObjects, merge_objects
from pipeline.errors import FormatError


def group(name: str, format_: str = "macho", **options: object) -> ModelObjects:
    return ModelObjects(name, f"{name}_", tvm_model(f"{name}_", format_, **options))


@pytest.mark.parametrize("format_", BUILDERS)
def test_members_get_the_prefix_of_their_model_once(format_):
    merged = merge_objects([group("whisper", format_), group("bert", format_)])
    names = ["whisper_devc.o", "whisper_lib0.o", "bert_devc.o", "bert_lib0.o"]
    assert [member.name for member in merged.members] == names
    assert [info.name for info in merged.infos] == names
    assert merged.by_model == {"whisper": tuple(names[:2]), "bert": tuple(names[2:])}
    assert merged.flavour == FLAVOURS.get(format_, "gnu")
    archive = write_archive(merged.members, merged.flavour)
    assert [member.name for member in read_archive(archive)] == names


def test_the_order_in_the_tar_does_not_matter():
    objects = tvm_model("bert_")
    turned = ModelObjects("bert", "bert_", objects[::-1])
    assert merge_objects([turned]) == merge_objects([ModelObjects("bert", "bert_", objects)])


def test_a_strong_symbol_in_two_models_is_refused_naming_both():
    groups = [
        ModelObjects(name, f"{name}_", (Member("x.o", elf_object([Sym("shared")])),)) for name in ("bert", "clip")
    ]
    with pytest.raises(FormatError, match=r"shared is defined twice: in bert_x\.o of bert and in clip_x\.o of clip"):
        merge_objects(groups)


def test_weak_symbols_may_be_shared():
    groups = [
        ModelObjects("bert", "bert_", (Member("x.o", elf_object([Sym("shared")])),)),
        ModelObjects("clip", "clip_", (Member("x.o", elf_object([Sym("shared", weak=True)])),)),
    ]
    assert len(merge_objects(groups).members) == 2


def test_each_model_for_windows_has_weak_symbols_of_its_own():
    merged = merge_objects([group("bert", "coff"), group("clip", "coff")])
    names = [symbol.name for info in merged.infos for symbol in info.defined if symbol.weak]
    assert "__truncsfhf2.bert_" in names
    assert "__truncsfhf2.clip_" in names
    assert len(set(names)) == len(names)
    (again,) = merge_objects([ModelObjects("bert", "bert_", merged.members[1:2])]).members
    assert again == merged.members[1], "what has them already stays as it is"


def test_the_other_symbols_of_an_object_for_windows_stay():
    data = coff_object([Sym("strong_and_long"), Sym("weak", weak=True), Sym("missing", defined=False)], constructors=1)
    merged = merge_objects([ModelObjects("bert", "bert_", (Member("x.o", data),))])
    (info,) = merged.infos
    assert [symbol.name for symbol in info.defined] == ["strong_and_long", "weak.bert_"]
    assert [symbol.name for symbol in info.undefined] == ["missing"]
    assert info.constructors == 1


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            [
                ModelObjects("a", "a_", (Member("a_b_x.o", elf_object()),)),
                ModelObjects("b", "a_b_", (Member("x.o", elf_object()),)),
            ],
            r"called a_b_x\.o: one of a, one of b",
        ),
    ],
)
def test_names_that_would_meet_are_refused(groups, message):
    with pytest.raises(FormatError, match=message) as caught:
        merge_objects(groups)
    assert caught.value.hint
