"""What the documents name is there: pages and headings, commands and tasks, variables, steps, templates, packages."""

from __future__ import annotations

import ast
import importlib
import re

import pytest
from document_pages import ROOT, Page, page_at, pages
from doit.doit_cmd import DoitMain

from pipeline.commands.init import NEXT
from pipeline.doit_plugin.tasks import GROUPS
from pipeline.kits.escaping import FILTERS
from pipeline.steps.linkkit import FILES

PAGES = pages()
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
OWN_TASKS = frozenset({"lint", "imports", "types", "docs", "tests"})
"""Of the dodo.py of this repository."""


def commands() -> dict[str, tuple[str, str]]:
    """Name -> module and class of every command, from pyproject.toml: what is installed may be older."""
    ours = re.search(r'entry-points\."doit\.COMMAND"\]\n(.*?)\n\n', (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    found = {cls.get_name(): (cls.__module__, cls.__name__) for cls in DoitMain.DOIT_CMDS}
    for name, module, attribute in re.findall(
        r'^([\w-]+) = "slipway_doit:([\w.]+)\.(\w+)"$', ours.group(1), re.MULTILINE
    ):
        found[name] = (f"pipeline.{module}", attribute)
    return found


COMMANDS = commands()


def options(name: str) -> set[str]:
    module, attribute = COMMANDS[name]
    command = getattr(importlib.import_module(module), attribute)
    declared = [
        option
        for base in command.__mro__
        for kind in ("cmd_options", "base_options")
        for option in vars(base).get(kind, ())
    ]
    return {f"--{option['long']}" for option in declared if option.get("long")} | {"--file", "--dir", "--help"}


def wrong_with(words: list[str]) -> str | None:
    """What is wrong with a command line of doit, or None."""
    words = [word for word in words if not word.startswith("targets=") and not word.startswith("…")]
    given = [word for word in words if not word.startswith("-")]
    name = given[0] if given and given[0] in COMMANDS else "run"
    for option in (word.partition("=")[0] for word in words if word.startswith("--") and word != "--"):
        if option not in options(name) | {"--version"}:
            return f"{name} has no option {option}"
    if given and given[0] in COMMANDS:
        return None
    after_option = {words[i + 1] for i, word in enumerate(words[:-1]) if word in {"-n", "-o", "-f"}}
    for word in given:
        step, colon, subject = word.partition(":")
        is_task = (step in GROUPS and bool(subject) == bool(colon)) or word in OWN_TASKS
        is_placeholder = word.isupper() or word.startswith("[")
        if not (is_task or is_placeholder or "/" in word or word in after_option):
            return f"{word} is neither a command nor a task"
    return None


@each_page
def test_links_lead_somewhere(page):
    broken = []
    for target in page.links():
        file, _, anchor = target.partition("#")
        path = (page.path.parent / file).resolve() if file else page.path
        there = path.exists() and path.is_relative_to(ROOT)
        if not there or (anchor and anchor not in Page(path, path.read_text(encoding="utf-8")).anchors()):
            broken.append(target)
    assert not broken


@each_page
def test_commands_of_doit_exist(page):
    wrong = {line: what for line in page.doit_commands() if (what := wrong_with(line.split()))}
    assert not wrong


@pytest.mark.parametrize(
    ("line", "fine"),
    [
        ("", True),
        ("compile:minilm-f32@ios-arm64 --strict", True),
        ("explain TASK", True),
        ("-n 4 targets=other.yaml", True),
        ("build/archive/host/libmodels.a", True),
        ("planned", False),
        ("compiles:minilm-f32@ios-arm64", False),
        ("plan --strictly", False),
        ("--strictly", False),
    ],
)
def test_the_test_of_commands_tells_right_from_wrong(line, fine):
    assert (wrong_with(line.split()) is None) is fine


TEXTS = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "pipeline/**/*.py",
        "pipeline/starter/**/*",
        ".github/**/*",
        ".ci/*",
        "pyproject.toml",
    )
    for path in ROOT.glob(pattern)
    if path.is_file() and path.suffix != ".pyc"
)
OTHER_PROGRAM = re.compile(
    r"(?:pip3?|pipx|uv|uvx)\b[^\n`]*?\b(?:install|add|run|tool)\b[^\n`]*?[\s'\"]slipway(?![-\w/])|[\s'\"]slipway\["
)
"""An installation by the name that somebody else's program has on the index."""


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("pip install slipway", True),
        ("pip install -U slipway", True),
        ("python -m pip install 'slipway[tvm]'", True),
        ("uv tool install slipway", True),
        ("pip install 'slipway-tvm[tvm]'", False),
        ("pip install '/path/to/slipway[tvm]'", False),
        ("pip install slipway-tvm", False),
    ],
)
def test_the_test_of_the_name_tells_right_from_wrong(text, wrong):
    assert bool(OTHER_PROGRAM.search(text)) is wrong


def test_nothing_tells_people_to_install_another_program():
    found = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in TEXTS
        for line in path.read_text(encoding="utf-8").splitlines()
        if OTHER_PROGRAM.search(line)
    }
    assert len(TEXTS) > 200
    assert found == set()


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {cls.get_name() for cls in DoitMain.DOIT_CMDS}))
def test_every_option_of_a_command_is_in_its_section(name):
    section = page_at("docs/reference/commands.md").text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert section
    module, attribute = COMMANDS[name]
    declared = vars(getattr(importlib.import_module(module), attribute))["cmd_options"]
    told = {one["long"]: f"--{one['long']}" in section or f"[-{one['short']} " in section for one in declared}
    assert [option for option, there in told.items() if not there] == []


def test_variables_of_ours_are_documented_and_those_documented_exist():
    read = set()
    for file in (ROOT / "pipeline").rglob("*.py"):
        strings = (node.value for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, ast.Constant))
        read |= {text for text in strings if isinstance(text, str) and re.fullmatch(r"SLIPWAY_[A-Z_]+", text)}
    settings = (ROOT / "pipeline/templates/settings.xcconfig.j2").read_text()
    made = "|".join(set(re.findall(r"\{\{ ID \}\}_([A-Z]+)", settings)))
    is_setting = re.compile(rf"SLIPWAY_[A-Z0-9]+_({made})").fullmatch
    named = {name for page in PAGES for name in page.variables() if not is_setting(name)}
    assert read
    assert named - read == set()
    assert read - page_at("docs/reference/environment.md").variables() == set()


def test_every_page_is_in_the_index():
    index = page_at("docs/README.md")
    linked = {(index.path.parent / target.partition("#")[0]).resolve() for target in index.links()}
    assert [
        page.name for page in PAGES if page.name.startswith("docs/") and page.path not in {*linked, index.path}
    ] == []


def test_the_design_names_files_that_exist_and_every_folder():
    page = page_at("docs/design.md")
    named = set(re.findall(r"`([\w./-]+(?:/|\.py|\.yaml|\.toml))`", page.prose)) - {"build/", "dist/"}
    homes = (ROOT, ROOT / "pipeline")
    assert len(named) > 50
    assert [name for name in named if not any((home / name).exists() for home in homes)] == []
    folders = {f"{path.name}/" for path in (ROOT / "pipeline").iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders - named == set()
    assert page.text.count("\n") <= 150


def test_the_tutorial_shows_what_init_prints():
    assert NEXT.format(cd="").strip() in page_at("docs/tutorial.md").text


def test_every_step_has_its_row():
    text = page_at("docs/reference/tasks.md").text
    assert [step for step in GROUPS if f"| `{step}` |" not in text] == []


def test_every_template_and_filter_is_described():
    text = page_at("docs/how-to/templates.md").text
    templates = {template for files in FILES.values() for _, template in files}
    assert [name for name in (*templates, *FILTERS) if f"`{name}`" not in text] == []


def test_every_dependency_is_explained():
    project = (ROOT / "pyproject.toml").read_text()
    listed = project[project.index("dependencies = [") : project.index('[project.entry-points."doit.BACKEND"]')]
    packages = re.findall(r'"([A-Za-z][\w.-]*)[=><]', listed)
    text = page_at("docs/explanation/dependencies.md").text
    assert "doit" in packages
    assert [name for name in packages if f"`{name}`" not in text] == []


def test_quirks_have_ids_of_their_own_and_those_named_in_the_code_exist():
    rows = re.findall(r"^\| ([A-Z]+-\d+) \| .+ \| .+ \| .+ \|$", page_at("docs/quirks.md").text, re.MULTILINE)
    assert len(rows) > 70
    assert len(set(rows)) == len(rows)
    sources = [path for folder in ("pipeline", "templates", "tests", "recipes") for path in (ROOT / folder).rglob("*")]
    texts = [path.read_text(encoding="utf-8") for path in sources if path.suffix in {".py", ".j2", ".yaml"}]
    named = {name for text in texts for name in re.findall(r"\bquirks? ([A-Z]+-\d+)", text)}
    assert named - set(rows) == set()


def test_no_message_names_a_page_which_a_wheel_has_not():
    named = []
    for file in (ROOT / "pipeline").rglob("*.py"):
        tree = ast.parse(file.read_bytes())
        bodies = [getattr(node, "body", []) for node in ast.walk(tree)]
        alone = {
            id(one.value) for body in bodies if isinstance(body, list) for one in body if isinstance(one, ast.Expr)
        }
        texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in alone)
        named += [
            node.value for node in texts if isinstance(node.value, str) and re.search(r"\bdocs/\S+\.md", node.value)
        ]
    assert named == []
