"""Joins the objects of several models into the members of one archive, or says precisely why that cannot be.

The archive step calls `merge_objects`. What it refuses would otherwise surface in someone's app: a duplicate symbol, or
a member that silently replaced another of its name (the host object is `lib0.o` in every model).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.errors import FormatError

from .ar import Flavour, Member, flavour_of
from .coff import is_coff_object
from .coff_edit import own_weak_definitions
from .object_info import ObjectInfo
from .objects import read_object


@dataclass(frozen=True, slots=True)
class ModelObjects:
    """The compiled objects of one model.

    Attributes:
        model: what to call it in errors, e.g. `minilm-f32`.
        prefix: its `system_lib_prefix`; goes before every member's name that does not start with it.
        objects: the objects, under the names the compiler gave them.
    """

    model: str
    prefix: str
    objects: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """What goes into the archive.

    Attributes:
        members: in the order of the models, sorted by name within each.
        infos: what each member says about itself, in the same order and under the same name.
        by_model: model -> names of its members.
    """

    members: tuple[Member, ...]
    infos: tuple[ObjectInfo, ...]
    by_model: Mapping[str, tuple[str, ...]]
    flavour: Flavour


def merge_objects(groups: Iterable[ModelObjects]) -> Merged:
    """Name the members so that all are different, and check that none defines what another does.

    The models are all for one backend, and keep their order. Weak definitions may be shared: every model brings the
    same half-precision helpers. COFF does not share them, so there each model gets its own.

    Raises:
        FormatError: two models share a strong global symbol, two members would have one name, or one is malformed.
    """
    members: list[Member] = []
    infos: list[ObjectInfo] = []
    owners: list[str] = []
    for group in groups:
        for member in sorted((_renamed(member, group.prefix) for member in group.objects), key=lambda m: m.name):
            members.append(member)
            infos.append(read_object(member.data, member.name))
            owners.append(group.model)
    _check(infos, owners)
    by_model = {model: tuple(i.name for i, o in zip(infos, owners, strict=True) if o == model) for model in owners}
    return Merged(tuple(members), tuple(infos), by_model, flavour_of(infos[0].format))


def _renamed(member: Member, prefix: str) -> Member:
    name = PurePosixPath(member.name).name
    name = name if name.startswith(prefix) else prefix + name
    return Member(name, own_weak_definitions(member.data, prefix, name) if is_coff_object(member.data) else member.data)


def _check(infos: Sequence[ObjectInfo], owners: Sequence[str]) -> None:
    """No strong definition twice: force-loading the archive would end in a duplicate symbol. And no name twice."""
    strong: dict[str, str] = {}
    names: dict[str, str] = {}
    for info, owner in zip(infos, owners, strict=True):
        here = f"{info.name} of {owner}"
        for symbol in info.defined:
            if not symbol.weak and (other := strong.setdefault(symbol.name, here)) is not here:
                raise FormatError(
                    f"{symbol.name} is defined twice: in {other} and in {here}",
                    hint="give each model a prefix of its own, and compile both again",
                )
        if info.name in names:
            raise FormatError(
                f"two members would be called {info.name}: one of {names[info.name]}, one of {owner}",
                hint="choose prefixes of which none starts with another",
            )
        names[info.name] = owner
