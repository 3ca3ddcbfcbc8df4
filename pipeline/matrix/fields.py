"""The kinds of values in `targets.yaml`: names, prefixes, versions, URLs, and what to say of one that is none.

`schema` builds its classes of them and `loader` words its messages with `MEANINGS`. Nothing here knows where in the
file a value stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    WithJsonSchema,
    field_validator,
)
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import no_info_before_validator_function

from pipeline.platforms import unportable
from pipeline.transport.http import redact_urls

LONGEST_NAME = 80
"""Names of files have up to three names in them."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
FUNCTION_PATTERN = r"^[^:]+\.py:[A-Za-z_][A-Za-z0-9_]*$"
OS_VERSION_PATTERN = r"^[0-9]{1,9}\.[0-9]{1,9}(\.[0-9]{1,9})?$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"
URL_PATTERN = r"^https?://[^/@\s?#]+/\S+$"
BASE_URL_PATTERN = r"^[a-z][a-z0-9+.-]*://([^@\s?#]+/)?$"
FOLDER_URL_PATTERN = r"^https?://[^/@\s?#]+/[^\s?#]*$"
PACKAGE_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
RELEASE_PATTERN = r"^[0-9][A-Za-z0-9.!+_-]*$"
PYTHON_PATTERN = r"^3\.[0-9]{1,9}$"
LINK_PATTERN = r"^(https?://[^@\s]+|[^-:@][^:@]*)$"
REQUIREMENT_PATTERN = r"^[^-\s].*$"
TVM_PATTERN = r"^[0-9]{1,9}\.[0-9]{1,9}(\.[0-9]{1,9})?(\.post[0-9]{1,9})?$"
MEMORY_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,9})? ?[MG]i?B$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
INPUT_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]*$"
REPOSITORY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$"
GROUP_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*([.][A-Za-z_][A-Za-z0-9_]*)*$"
MAVEN_VERSION_PATTERN = r"^[0-9A-Za-z][0-9A-Za-z._-]*$"

MEANINGS: Mapping[str, tuple[str, str]] = {
    NAME_PATTERN: ("is not a name", "use letters, digits, `_`, `.` and `-`, starting with a letter or a digit"),
    FUNCTION_PATTERN: ("does not name a function in a file", "write it as path/to/file.py:function"),
    OS_VERSION_PATTERN: ("is not an OS version", 'write major and minor in quotes, like "14.0"'),
    SHA256_PATTERN: ("is not a SHA-256", "write its 64 lower-case hexadecimal digits"),
    URL_PATTERN: ("is not an http(s) URL of a file", "write https://host/file, without user and password"),
    BASE_URL_PATTERN: (
        "is not the address of a directory",
        "write https://host/path/, with `/` at the end; without `?`, `#` and a password: names of files come behind it",
    ),
    FOLDER_URL_PATTERN: (
        "is not the http(s) address of a directory",
        "write https://host/path, without `?`, `#` and a password: apps put names of files behind it, and show it",
    ),
    PACKAGE_PATTERN: ("is not the name of a package", "write the bare name; its version has a key of its own"),
    RELEASE_PATTERN: ("is not one release", "pin one version, like 0.1.0"),
    PYTHON_PATTERN: ("is not a version of Python", 'write major and minor in quotes, like "3.12"'),
    LINK_PATTERN: ("is not a page or directory of wheels", "write an http(s) URL without user and password, or a path"),
    REQUIREMENT_PATTERN: ("is not a requirement", "write it as pip takes it, like mlc-ai-nightly-cpu; no options"),
    TVM_PATTERN: (
        "is not a release of TVM",
        'write it in quotes, like "0.22.0"; of a development version the release before it',
    ),
    MEMORY_PATTERN: ("is not a size of memory", "write a number and MB, GB, MiB or GiB, like 4GB"),
    GROUP_PATTERN: ("is not a group of Maven", "write it like a package of Java: com.example.models"),
    MAVEN_VERSION_PATTERN: ("is not a version of Maven", 'write letters, digits, `.`, `_` and `-`, like "1.0.0"'),
    REPOSITORY_PATTERN: ("is not a repository", "write it as owner/name"),
    VARIABLE_PATTERN: ("is not the name of a variable", "use letters, digits and `_`, not starting with a digit"),
    INPUT_PATTERN: ("is not a name that can stand here", "use letters, digits, `_` and `-`, starting with a letter"),
}
"""What a value that misses a pattern is not, and how to write one that does not."""


T = TypeVar("T")


def wrong(what: str, hint: str, item: int | None = None) -> PydanticCustomError:
    """What a validator raises: `loader` shows both sentences as they are, at that item of a list."""
    return PydanticCustomError("slipway", "{what}", {"what": what, "hint": hint, "item": item})


def check_distinct(items: tuple[T, ...]) -> tuple[T, ...]:
    """Return `items` if none of them is there twice: somebody meant another one, and would get what was built once."""
    seen = set()
    for number, one in enumerate(items):
        if one in seen:
            raise wrong(f"{f'`{one}`' if isinstance(one, str) else 'this'} is named twice", "name it once", number)
        seen.add(one)
    return items


def check_prefix(prefix: str) -> str:
    """Return `prefix` if TVM can use it and C can spell it.

    Up to 7 bytes travel inside TVM's FFI as a small string, which `relax.build` of 0.26 and 0.27 refuses with "Cannot
    convert from type ffi.SmallStr to ffi.Object". Other characters would be accepted, and give symbols that no source
    can name.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", prefix, re.ASCII):
        raise wrong(
            f"the prefix `{prefix}` has bad characters",
            "use letters, digits and `_`, not starting with a digit: it becomes part of C symbols",
        )
    if len(prefix) < 8:  # noqa: PLR2004 - the bound is explained above
        raise wrong(f"the prefix `{prefix}` is too short", "use 8 or more characters: TVM fails on shorter ones")
    return prefix


def check_name(name: str) -> str:
    """Return `name` if every system can have a file of that name."""
    why = unportable(name) or (f"is longer than {LONGEST_NAME} characters" if len(name) > LONGEST_NAME else None)
    if why is not None:
        raise wrong(f"the name `{name[:LONGEST_NAME]}` {why}", "choose another: folders and files are called so")
    return name


def check_inside(path: str) -> str:
    """Return `path` if it stays inside the directory it is relative to."""
    if path and (not set(path.split("/")).isdisjoint({"", ".", ".."}) or "\\" in path or ":" in path):
        raise wrong(f"`{path}` is not a path inside the weights", "write names with `/` between, without `.` and `..`")
    return path


def check_public(text: str) -> str:
    """Return `text` if nothing in it opens a door: what pip is given ends up in slipway.lock and in keys."""
    if redact_urls(text) != text:
        raise wrong(
            f"`{text}` holds a password or a token, which would stand in slipway.lock",
            "leave it out: pip finds it in ~/.netrc, or in its own configuration",
        )
    return text


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN), AfterValidator(check_name)]
FunctionName = Annotated[str, StringConstraints(pattern=FUNCTION_PATTERN)]
FileName = Annotated[str, StringConstraints(min_length=1)]
InsidePath = Annotated[str, AfterValidator(check_inside)]
OsVersion = Annotated[str, StringConstraints(pattern=OS_VERSION_PATTERN)]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
BaseUrl = Annotated[str, StringConstraints(pattern=BASE_URL_PATTERN)]
Url = Annotated[str, StringConstraints(pattern=URL_PATTERN)]
FolderUrl = Annotated[str, StringConstraints(pattern=FOLDER_URL_PATTERN)]
PackageName = Annotated[str, StringConstraints(pattern=PACKAGE_PATTERN)]
Release = Annotated[str, StringConstraints(pattern=RELEASE_PATTERN)]
TvmRelease = Annotated[str, StringConstraints(pattern=TVM_PATTERN)]
MemorySize = Annotated[str, StringConstraints(pattern=MEMORY_PATTERN)]
Repository = Annotated[str, StringConstraints(pattern=REPOSITORY_PATTERN)]
PythonVersion = Annotated[str, StringConstraints(pattern=PYTHON_PATTERN)]
Link = Annotated[str, StringConstraints(pattern=LINK_PATTERN), AfterValidator(check_public)]
Requirement = Annotated[str, StringConstraints(pattern=REQUIREMENT_PATTERN), AfterValidator(check_public)]
MavenGroup = Annotated[str, StringConstraints(pattern=GROUP_PATTERN)]
MavenVersion = Annotated[str, StringConstraints(pattern=MAVEN_VERSION_PATTERN)]
Distinct = Annotated[tuple[T, ...], AfterValidator(check_distinct), Field(json_schema_extra={"uniqueItems": True})]
Patterns = Distinct[FileName]
Names = Annotated[Distinct[Name], Field(min_length=1)]
Prefix = Annotated[
    str,
    AfterValidator(check_prefix),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{7,}$"}),
]


class Strict(BaseModel):
    """Base of all classes here: an unknown key is an error, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _says_something(cls, value: object) -> object:
        """A key with nothing behind it would be as good as none, which its author may not have meant."""
        if value is None:
            raise wrong("nothing stands behind this key", _BEHIND_NOTHING)
        return value


_BEHIND_NOTHING = "write below it, further to the right, what belongs to it, or remove the key"


@dataclass(frozen=True)
class Short:
    """In `Annotated`: a text may stand for the mapping.

    Attributes:
        key: the one key of the mapping whose value the text is, or what says which it is of a text.
        pattern: what every text follows.
    """

    key: str | Callable[[str], str]
    pattern: str | None = None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_before_validator_function(self._spelled_out, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        bound = {"minLength": 1} if self.pattern is None else {"pattern": self.pattern}
        return {"anyOf": [{"type": "string", **bound}, handler(core)]}

    def _spelled_out(self, written: object) -> object:
        if not isinstance(written, str):
            return written
        return {self.key if isinstance(self.key, str) else self.key(written): written}
