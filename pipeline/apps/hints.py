"""What to do about each way a shipped app can lose a model: the flags and the settings, by the system it is for.

`verdicts` takes its sentences from here; docs/how-to/verify-app.md and docs/troubleshooting.md explain them. A hint
names what to set and where.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.binary.object_info import Format
from pipeline.binary.symbols import Generation, required_symbols, symbol_name
from pipeline.platforms import SDKS


def setting(platform: str | None) -> str:
    """The Xcode setting for linker flags on a platform."""
    sdk = SDKS.get(platform or "")
    return f"OTHER_LDFLAGS[sdk={sdk}*]" if sdk else "OTHER_LDFLAGS"


def force_load(platform: str | None, archive: str | None, *, macho: bool) -> str:
    """No half of the model was linked, or only one."""
    if not macho:
        return (
            f"link {archive or 'the models'} whole: -Wl,--whole-archive {archive or 'libmodels.a'} "
            "-Wl,--no-whole-archive (CMake: $<LINK_LIBRARY:WHOLE_ARCHIVE,...>; Rust: static:+whole-archive)"
        )
    path = archive or "<path>/libmodels.a"
    return (
        f"add -Wl,-force_load,{path} to {setting(platform)} of the target, in every configuration; the kit's .xcconfig "
        "sets all of it"
    )


def whole_model(prefix: str, platform: str | None, archive: str | None, *, macho: bool) -> str:
    """One of the two objects was linked."""
    form: Format = "macho" if macho else "elf"
    both = " ".join(f"-Wl,-u,{symbol_name(name, form)}" for name in required_symbols(prefix))
    return (
        f"an -u, an exported symbol or a keep file that names the blob alone links one object of two: "
        f"{force_load(platform, archive, macho=macho)}; or name a symbol of each: {both}"
    )


def keep_symbols(prefix: str, generation: Generation, *, macho: bool) -> str:
    """The model registers itself, but nothing can see it."""
    symbol = symbol_name(prefix + generation.blob_suffix, "macho" if macho else "elf")
    if not macho:
        return f"export {symbol}: global in the version script (the kit's .map), and no --exclude-libs for the models"
    return (
        "STRIP_STYLE = non-global and STRIP_INSTALLED_PRODUCT = NO in the configuration that is archived, and "
        f"{symbol} in the file of -Wl,-exported_symbols_list, with -Wl,-export_dynamic"
    )


REBUILD_ARCHIVE = (
    "build the archive again with both objects of the model (lib0.o and <prefix>devc.o): doit archive:<backend>"
)
"""An archive lacks a model, or half of it: no flag of a later link can help."""

START_UP_TABLE = (
    "link without options that drop or rewrite start-up code, from an archive that verify:<backend> has proven"
)
"""Fewer constructors than the models need."""


def rename(nearest: str, source: str) -> str:
    """The configuration asks for another name than the binary has."""
    file = source if source.endswith(".json") else "the app's mlc-app-config.json"
    return (
        f'write "model_lib": "{nearest}" into {file}: copy the record from the mlc-app-config.json of the build '
        "whose library is linked"
    )


SAME_BUILD = "the app is linked with the library of another build: clean its build folder and link the present one"
"""Other models are linked than this build's."""

REBUILD_TOGETHER = (
    "build the models and the runtime (libtvm_runtime, libtvm_ffi, libmlc_llm) from one version of TVM or mlc-llm, "
    "replace all of them in the app, and clean its build folder"
)
"""Model and runtime are of two generations."""

RIGHT_RUNTIME = "ship the runtime of that release, or correct `runtime_version` and build the models for it"
"""The runtime in an app is of another release than was declared."""


def load_runtime(kind: str, platform: str | None, *, macho: bool, families: bool) -> str:
    """No loader for a module of the model."""
    if kind not in {"relax.VMExecutable", "relax.Executable"} and families:
        return f"build the TVM runtime with support for {kind} (CMake: -DUSE_{kind.upper()}=ON), and link that one"
    if macho:
        return (
            f"add -Wl,-force_load,<path>/libtvm_runtime.a to {setting(platform)} (and libtvm_ffi_static.a beside it): "
            "the loader registers itself, and a linker drops what nothing refers to"
        )
    return "link libtvm_runtime.a whole (-Wl,--whole-archive), or ship libtvm_runtime.so and libtvm_ffi.so"


def right_slice(platforms: Sequence[str]) -> str:
    """A binary for another system."""
    wanted = " or ".join(platforms)
    settings = " and ".join(dict.fromkeys(setting(platform) for platform in platforms))
    return (
        f"link the {wanted} slice of the xcframework: give the path of each slice in a setting of its own "
        f"({settings}), or let the kit's .xcconfig choose"
    )


ONE_RUNTIME = (
    "ship one of them: leave the runtime out of the kit (empty its runtime variable), or the other library out of "
    "the app; if they never meet, leave one out here with --exclude"
)
"""Two runtimes in one process."""


PAGE_SIZE = (
    "link it with -Wl,-z,max-page-size=16384 (what NDK r28 does by itself), or update the library it comes from, "
    "or leave out one that is not yours with --exclude"
)
"""A library for pages of 4 KiB."""

ZIP_ALIGNMENT = "align the package: zipalign -P 16 (Android Gradle plugin 8.5.1 does it), or compress its libraries"
"""A library at an odd place of an .apk."""

NOT_ENCRYPTED = "check the app that you export (fastlane, Xcode), not one that came back from the App Store"
"""The App Store has encrypted the binary."""
