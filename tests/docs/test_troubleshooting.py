"""The checks that the troubleshooting page names are printed by those very names."""

from __future__ import annotations

import ast
import re
from typing import get_args

from document_pages import ROOT, pages

from pipeline.apps.verdicts import ModelState

PAGE = next(page for page in pages() if page.name == "docs/troubleshooting.md")
ROWS = [
    line.split(" | ") for line in PAGE.text.splitlines() if line.startswith("| ") and not line.startswith("| error")
]

SYMPTOMS = (
    "Cannot find system lib",
    "Missing model lib",
    "Library binary was created using {relax.VMExecutable} but a loader of that name is not registered",
)
"""What users of MLC's apps see when a model is lost."""


def printed(*folders: str) -> set[str]:
    """Every text in the code, an f-string as what is before its first value."""
    found = set()
    for folder in folders:
        for file in sorted((ROOT / "pipeline").glob(folder)):
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return found


def test_every_row_is_whole():
    assert len(ROWS) > 30
    assert [row[0] for row in ROWS if len(row) != 4 or not all(cell.strip(" |") for cell in row)] == []


def test_every_symptom_has_a_row_with_a_check():
    for symptom in SYMPTOMS:
        row = next(row for row in ROWS if symptom in row[0])
        assert "`verify:<" in row[2]
        assert "`verify-app`: `" in row[2]


def test_checks_of_verify_are_called_so():
    texts = printed("proofs/*.py", "steps/verify.py")
    named = set()
    for row in ROWS:
        for inside in re.findall(r"`verify:<[a-z ]+>` \(([^)]*)\)", row[2]):
            named |= set(re.findall(r"`([^`]+)`", inside))
    assert {"constructors", "closure", "runtime", "strip settings for …"} <= named
    texts |= {f"runtime in {text}" for text in texts}  # said of another check's subject
    assert [name for name in sorted(named) if name.removesuffix("…") not in texts] == []


def test_checks_of_verify_app_are_called_so():
    named = set()
    for row in ROWS:
        for after in re.findall(r"`verify-app(?: --config)?`(.*)$", row[2]):
            named |= set(re.findall(r"`([a-z-]+)`", after))
    checks = printed("apps/checks.py") & {"platform", "registration", "runtime"}
    assert named
    assert named <= {*get_args(ModelState), *checks}
