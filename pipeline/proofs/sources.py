"""Do the files of a kit that nothing here links, runs or reads name what they are for?

Called by `kits` for a product. A slip in a template of the user's own (another product's name, an old path, a function
that is called something else) shows here and not in an app.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pipeline.documents.link_json import LinkJson
from pipeline.kits.bindings import bound_models, java_package
from pipeline.nearest import listed

from .report import Check, counted, settled
from .subject import Kit


def check_sources(kit: Kit, found: LinkJson) -> Iterator[Check]:
    """Each file names every model or archive that it is for, and each function that it calls.

    Code of the user's own may name no model; what names some has lost the others.
    """
    code, others = _code(kit.product, found), _others(kit.product, found)
    texts = {
        name: path.read_text(encoding="utf-8") for name in (*code, *others) if (path := kit.folder / name).is_file()
    }
    wanted = {name: words for name, words in others.items() if name in texts}
    for name in code.keys() & texts.keys():
        prefixes, functions = code[name]
        if any(word in texts[name] for word in prefixes):
            wanted[name] = (*prefixes, *functions)
    problems = [
        f"{name} does not name {word}" for name, words in wanted.items() for word in words if word not in texts[name]
    ]
    if wanted:
        saw = f"{counted(len(found.models), 'model')} named in {listed(sorted(wanted))}"
        yield settled("sources", problems, saw, f"{kit.rebuild}; a template of your own must name what ours names")


def _code(product: str, found: LinkJson) -> Mapping[str, tuple[Sequence[str], Sequence[str]]]:
    """File -> what it names if it is no other than ours in kind (the prefixes), and what it has to name then."""
    with_modules = {one.model for one in found.modules}
    in_c = [f"include/{product}.h", f"include/{product}.hpp", f"src/{product}.cpp"]
    files = [
        *in_c,
        *(f"Sources/{product}Kit/{name.removeprefix('src/')}" for name in in_c),
        f"Sources/{product}Models/{product}.swift",
        "rust/lib.rs",
        f"java/slipway/{java_package(product)}/Models.java",
        f"{product}.js",
    ]
    java = f"Java_slipway_{java_package(product).replace('_', '_1')}_Models_"
    code: dict[str, tuple[Sequence[str], Sequence[str]]] = {
        f"src/{product}_jni.cpp": (["Java_"], [f"{java}{name}(" for name in ("open", "call", "close", "release")]),
        f"Sources/{product}Kit/include/module.modulemap": (['header "'], [f'"{product}.h"']),
        f"{product}Config.cmake": (['.a"'], [f'/{found.archive}"']),
        f"{product}.gradle": (["_DIR="], [f"-D{product}_DIR="]),
    }
    for file in files:
        models = [one for one in bound_models(found) if file != f"{product}.js" or one.subject in with_modules]
        typed = [one.name for model in models for one in model.functions if not one.untyped and not file.endswith(".h")]
        plain = [f'"{name}"' for name in typed if re.fullmatch(r"[\w.]+", name, re.ASCII)]
        code[file] = ([f'"{model.prefix}"' for model in models], plain)
    return code


def _others(product: str, found: LinkJson) -> Mapping[str, Sequence[str]]:
    """File -> the words that it has to have."""
    symbols = [symbol for model in found.models.values() for symbol in model.keep_symbols]
    return {
        f"Sources/{product}Kit/{product}_keep.m": [f'"{symbol}"' for symbol in symbols],
        "Package.swift": [f'"{product}.xcframework"'],
        f"{product}.podspec": [f"'{product}.xcframework'"],
        "package.json": [f'{product}.js"', f'{product}.d.ts"'],
    }
