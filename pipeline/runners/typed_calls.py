"""What calls the methods of a kit's classes in the programs of `native`: a generated file for C++, and one for Rust.

Which class and method a function has `kits.bindings` says, as for the templates. A template of the user's own that
names the models has to have the same; one that names none of them is not called.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.documents.link_json import LinkJson
from pipeline.kits.bindings import Bound, bound_models
from pipeline.kits.escaping import c_string, identifier, rust


def in_cpp(kit: LinkJson, folder: Path) -> str:
    """Statements that fill a map of functions, for the model with a prefix, and hold the macros of the C header."""
    lines = []
    for model in _named(kit, folder / "include" / f"{kit.product}.hpp"):
        class_, macro = f"typed::{model.snake}", f"{identifier(kit.product)}_{model.prefix}PREFIX"
        lines += [f"#ifdef {macro}", f"static_assert(std::string_view({macro}) == {c_string(model.prefix)});", "#endif"]
        lines += [f"if (prefix == {c_string(model.prefix)}) {{", f"  auto model = opened<{class_}>(bundle);"]
        typed = (one for one in model.functions if not one.untyped)
        lines += [f"  found[{c_string(one.name)}] = method(model, &{class_}::{one.snake});" for one in typed]
        lines.append("}")
    return "\n".join(lines)


def in_rust(kit: LinkJson, folder: Path) -> str:
    """The function `methods`."""
    lines = ["fn methods(prefix: &str, bundle: &str) -> Result<HashMap<&'static str, Call>> {"]
    lines.append("    let mut found = HashMap::<&'static str, Call>::new();")
    for model in _named(kit, folder / "rust" / "lib.rs"):
        bundle = "bundle" if any(one.parameters for one in model.functions) else ""
        lines.append(f"    if prefix == {rust(model.prefix)} {{")
        lines.append(f"        let model = std::rc::Rc::new(kit::{model.pascal}::open({bundle})?);")
        for one in (one for one in model.functions if not one.untyped):
            words = [
                f"object(&given[{i}], held)?" if argument.kind == "object" else f"&Taken::taken(&given[{i}])?"
                for i, argument in enumerate(one.arguments)
            ]
            made = [f"made_{i}" for i in range(len(one.results))]
            pattern = made[0] if len(made) == 1 else f"({', '.join(made)})"
            lines.append("        let its = model.clone();")
            lines.append(f"        found.insert({rust(one.name)}, Box::new(move |given, held| {{")
            lines.append(f"            let {pattern} = its.{one.snake}({', '.join(words)})?;")
            lines.append(f"            Ok(vec![{', '.join(f'{name}.output()' for name in made)}])")
            lines.append("        }));")
        lines.append("    }")
    return "\n".join([*lines, "    Ok(found)", "}", ""])


def _named(kit: LinkJson, header: Path) -> tuple[Bound, ...]:
    """The models with their names in a language, where its header names them."""
    text = header.read_text(encoding="utf-8")
    return bound_models(kit) if any(f'"{one.prefix}"' in text for one in kit.models.values()) else ()
