"""Small wheels to make environments of, so that no test needs an index: written by hand, as a wheel is a zip."""

from __future__ import annotations

import base64
import hashlib
import sysconfig
import zipfile
from collections.abc import Mapping
from pathlib import Path


def wheel(folder: Path, name: str, version: str, files: Mapping[str, str] | None = None) -> Path:
    """Write `<name>-<version>-py3-none-any.whl` with the files (path in the wheel -> text)."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = name.replace("-", "_")
    info = f"{plain}-{version}.dist-info"
    contents = {
        **(files or {}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in contents.items()]
    path = folder / f"{plain}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in {**contents, f"{info}/RECORD": "".join([*rows, f"{info}/RECORD,,\n"])}.items():
            entry = zipfile.ZipInfo(inside)
            entry.external_attr = (0o100755 if ".data/scripts/" in inside else 0o100644) << 16
            archive.writestr(entry, text)
    return path


def compiler_wheel(folder: Path, version: str, program: str) -> Path:
    """A fake of a compiler's wheel: it shows the packages of this Python, and brings a program `mlc_llm`."""
    files = {
        "fake_compiler.pth": f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n",
        f"fake_compiler-{version}.data/scripts/mlc_llm": f"#!python\n{program}\n# {version}\n",
    }
    return wheel(folder, "fake-compiler", version, files)


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
