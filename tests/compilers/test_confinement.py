"""What the code of a model may read: what is declared, and nothing that no key knows. In forked children."""

from __future__ import annotations

import multiprocessing.popen_spawn_posix  # noqa: F401 - as in a worker that has imported it before
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest
from compiled_models import declared
from fake_worker import run_forked

from pipeline.errors import StepError


def build(*_before, declared):
    """In a child: what the recipe's `build` returns."""
    from pipeline.compilers import python_source
    from pipeline.compilers.confinement import confined
    from pipeline.compilers.declared import Declared

    with confined(Declared(**declared)) as scope:
        function = python_source.load_function(scope, "build")
        return python_source.run(function, scope.source)


class Recipe:
    """A recipe with files around it, and a folder elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lib, self.log = folder / "project", folder / "lib", folder / "log"
        self.write("recipe.py", "def build(): return 1\n")
        self.write("../lib/outside.py", "SCALE = 7\n")
        self.write("../lib/table.txt", "7\n")

    def write(self, name: str, text: str) -> Path:
        path = Path(os.path.normpath(self.folder / name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def source(self, top: str, value: str) -> None:
        self.write("recipe.py", f"from pathlib import Path\n{textwrap.dedent(top)}\ndef build():\n    return {value}\n")

    def build(self, *reads: str, known: dict | None = None):
        told = known or declared(self.folder / "recipe.py", *(self.folder / name for name in reads))
        for name in reads:
            told["files"] |= declared(self.folder / name)["files"]
        return run_forked([(f"{__name__}:build", {"declared": told})], self.log, None)

    def refused(self, *reads: str) -> str:
        with pytest.raises(StepError) as caught:
            self.build(*reads)
        assert caught.value.hint
        assert str(caught.value.where).startswith(str(self.folder)), "the line that wants it"
        return f"{caught.value.what}\nhint: {caught.value.hint}"


@pytest.fixture
def recipe(tmp_path):
    return Recipe(tmp_path)


def keep_times(path: Path, text: str) -> None:
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


# Compiled from the bytes that were hashed


@pytest.mark.parametrize("edited", ["recipe.py", "helper.py", "parts/__init__.py", "parts/inner.py"])
def test_pycache_is_neither_used_nor_written(recipe, edited):
    for name in ("helper.py", "parts/__init__.py", "parts/inner.py"):
        recipe.write(name, "SCALE = 1\n")
    top = "import helper, parts\nfrom parts import inner\nSCALE = 1"
    recipe.source(top, "[SCALE, helper.SCALE, parts.SCALE, inner.SCALE]")
    assert recipe.build() == [1, 1, 1, 1]
    assert not list(recipe.folder.rglob("*.pyc"))
    for path in recipe.folder.rglob("*.py"):
        py_compile.compile(str(path))
    path = recipe.folder / edited
    keep_times(path, path.read_text().replace("SCALE = 1", "SCALE = 7"))
    assert sorted(recipe.build()) == [1, 1, 1, 7]


@pytest.mark.parametrize("edited", ["recipe.py", "helper.py"])
def test_a_file_that_is_not_what_the_key_says_is_not_run(recipe, edited):
    recipe.write("helper.py", "SCALE = 1\n")
    recipe.source("import helper", "helper.SCALE")
    known = declared(recipe.folder / "recipe.py")
    recipe.write(edited, "raise SystemExit\n")
    with pytest.raises(StepError, match="changed while it was read"):
        recipe.build(known=known)


def test_its_text_is_there_for_who_reads_it_as_tvmscript_does(recipe):
    recipe.source("import inspect, os\ndef mine(x):\n    return x + 1", "inspect.getsource(mine)")
    assert recipe.build() == "def mine(x):\n    return x + 1\n"


# Imports


def test_modules_are_found_as_for_a_script(recipe):
    recipe.write("helper/__init__.py", "from .inner import SCALE\n")
    recipe.write("helper/inner.py", "SCALE = 7\n")
    recipe.write("helper.py", "SCALE = 1\n")
    recipe.write("folder/deep/leaf.py", "SCALE = 7\n")
    recipe.write("this.py", "SCALE = 7\n")
    top = "import helper, this, importlib\nfrom folder.deep import leaf\nfast = importlib.import_module('fast')"
    recipe.write("fast.py", "import helper\nSCALE = helper.SCALE\n")
    recipe.source(top, "[m.SCALE for m in (helper, this, leaf, fast)]")
    assert recipe.build() == [7, 7, 7, 7]


def test_what_a_recipe_does_not_name_is_not_there_for_a_library(recipe):
    recipe.write("heapq.py", "raise RuntimeError\n")
    anew = "import sys\nfor name in ('heapq', 'sched'): sys.modules.pop(name, None)\n"
    recipe.source(f"{anew}import sched", "sched.heapq.heappop([1])")
    assert recipe.build() == 1
    recipe.source(f"{anew}import sched, heapq", "1")
    with pytest.raises(StepError, match="RuntimeError"):
        recipe.build()


def test_a_module_that_is_not_there_may_be_done_without(recipe):
    recipe.source("try:\n    import fast\nexcept ImportError:\n    fast = None", "fast is None")
    assert recipe.build() is True


OURS = "from pipeline.compilers.recipe import BuildSpec\n"


def test_a_package_with_the_name_of_ours_is_joined_to_ours(recipe):
    recipe.write("pipeline/__init__.py", '"""Mine."""\n')
    recipe.write("pipeline/something.py", "from .folder.deep import SCALE\nfrom . import other\n")
    recipe.write("pipeline/other.py", "SCALE = 7\n")
    recipe.write("pipeline/folder/deep.py", "SCALE = 7\n")
    recipe.source(f"{OURS}from pipeline.something import SCALE, other", "[SCALE, other.SCALE, BuildSpec.__module__]")
    assert recipe.build() == [7, 7, "pipeline.compilers.recipe"]


@pytest.mark.parametrize("name", ["pipeline.py", "pipeline/__init__.py"])
def test_a_module_with_the_name_of_ours_that_the_recipe_does_not_use(recipe, name):
    recipe.write(name, "raise RuntimeError\n")
    recipe.source(OURS, "BuildSpec.__module__")
    assert recipe.build() == "pipeline.compilers.recipe"


@pytest.mark.parametrize(
    ("files", "top", "what"),
    [
        ({"files.py": ""}, "import pipeline.files", "is not imported"),
        ({"files/__init__.py": ""}, "from pipeline import files", "is not imported"),
        ({"__init__.py": "SCALE = 7\n", "mine.py": ""}, "import pipeline.mine", "pipeline/__init__.py is not imported"),
        ({"__init__.py": "SCALE = 7\n"}, "from pipeline import SCALE", "cannot import name 'SCALE'"),
        ({}, "import pipeline.nothing", "No module named 'pipeline.nothing'"),
    ],
)
def test_what_the_name_of_ours_hides_is_refused(recipe, files, top, what):
    for name, text in files.items():
        recipe.write(f"pipeline/{name}", text)
    recipe.source(top, "1")
    with pytest.raises(StepError, match=what) as caught:
        recipe.build()
    assert "give yours another name" in str(caught.value)


def test_what_is_read_may_be_imported_by_any_name(recipe):
    recipe.write("plugins/a.py", "SCALE = 7\n")
    recipe.write("one.py", "SCALE = 7\n")
    top = "import importlib\nfound = [importlib.import_module(''.join(name)) for name in ('plugins.a', ['o', 'ne'])]"
    recipe.source(top, "[one.SCALE for one in found]")
    assert recipe.build("plugins", "one.py") == [7, 7]


def test_code_elsewhere_that_is_read(recipe):
    recipe.source(f"{ON_PATH}import outside", "outside.SCALE")
    path = recipe.lib / "outside.py"
    py_compile.compile(str(path))
    keep_times(path, "SCALE = 9\n")
    assert recipe.build(str(path)) == 9


# Refused

MADE_UP = "import importlib\nname = ''.join(['fa', 'st'])\n"
ON_PATH = "import sys\nsys.path.append(str(Path(__file__).parent.parent / 'lib'))\n"
BY_PATH = """
import importlib.util as u
def go():
    spec = u.spec_from_file_location("anything", Path(__file__).with_name("fast.py"))
    module = u.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SCALE
"""


IN_A_THREAD = "import os, subprocess\nfrom concurrent.futures import ThreadPoolExecutor as T\n"
BY_ASYNCIO = """
import asyncio
async def go():
    process = await asyncio.create_subprocess_exec("cat", "table.txt", stdout=-1)
    return (await process.communicate())[0].decode()
"""
TO_A_LINK = """
import os, tempfile
def go(link):
    with tempfile.TemporaryDirectory(dir=".") as folder:
        link(os.path.abspath("table.txt"), folder + "/x")
        return open(folder + "/x").read()
"""


def swallowed(statement: str) -> str:
    return f"try:\n    found = {statement}\nexcept Exception:\n    found = None\n"


TABLE = "Path(__file__).with_name('table.txt')"
LATER = "Path(__file__).with_name('later.txt')"
CASES = {
    "a computed import": (f"{MADE_UP}fast = importlib.import_module(name)", "1", "fast is imported by a name that"),
    "a computed import of nothing yet": (
        MADE_UP + swallowed("importlib.import_module(name + 'er')"),
        "1",
        "faster is imported by a name that",
    ),
    "__import__ with a name made up": (f"{MADE_UP}fast = __import__(name)", "1", "fast is imported by a name that"),
    "a folder on sys.path": (f"{ON_PATH}import outside", "1", "lib/outside.py"),
    "an optional module on sys.path": (ON_PATH + swallowed("__import__('outside')"), "1", "lib/outside.py"),
    "a file run by its path": ("import runpy", "runpy.run_path(str(Path(__file__).with_name('fast.py')))", "it opens"),
    "a file loaded by its path": (BY_PATH, "go()", "fast.py, which is not"),
    "code in a file": ("", "exec(open('fast.py').read())", "it opens"),
    "a data file": ("", f"{TABLE}.read_text()", "table.txt, which is not in the key"),
    "a data file elsewhere": (
        "import numpy as np",
        "float(np.loadtxt(Path(__file__).parent.parent / 'lib/table.txt'))",
        "lib/table.txt, which",
    ),
    "a data file in binary": ("import numpy as np", f"len(np.fromfile({TABLE}))", "table.txt"),
    "a data file that it does without": (swallowed(f"{TABLE}.read_text()"), "found", "table.txt"),
    "a data file that is not there yet": (swallowed(f"{LATER}.read_text()"), "found", "later.txt"),
    "whether a file is there": ("", f"{LATER}.exists()", "it looks for"),
    "whether a file is there, asked of os": ("import os", "os.path.isfile('later.txt')", "it looks for"),
    "whether a file is there, asked in a thread": (
        IN_A_THREAD,
        "list(T(1).map(os.path.exists, ['x']))",
        "it looks for",
    ),
    "whether a folder is there": ("", "Path('tables').is_dir()", "it looks for"),
    "whether a folder is there, asked of os": ("import os", "os.path.isdir('tables')", "it looks for"),
    "where a link leads": ("import os", "os.readlink('link')", "it looks for"),
    "where a link leads, asked of a path": ("", "str(Path('link').readlink())", "it looks for"),
    "a file by way of a symbolic link": (TO_A_LINK, "go(os.symlink)", "it links to"),
    "a file by way of a hard link": (TO_A_LINK, "go(os.link)", "it links to"),
    "a file by way of /proc": ("", "open('/proc/self/cwd/table.txt').read()", "it opens /proc/self/cwd/table.txt"),
    "the environment by way of /proc": ("", "open('/proc/self/environ').read()", "it opens /proc/self/environ"),
    "a file in shared memory": ("", "open('/dev/shm/slipway-none').read()", "it opens /dev/shm/slipway-none"),
    "the size of a file": ("", f"{TABLE}.stat().st_size", "it looks for"),
    "the files of a folder": ("", "len(list(Path(__file__).parent.glob('*.txt')))", "it lists"),
    "the files of a folder, asked of os": ("import os", "os.listdir(Path(__file__).parent)", "it lists"),
    "a database": ("import sqlite3", "str(sqlite3.connect(str(Path(__file__).with_name('x.db'))))", "it opens"),
    "a shared library": ("import ctypes", "ctypes.CDLL(str(Path(__file__).with_name('fast.so')))", "it loads"),
    "a program": ("import subprocess", "subprocess.check_output(['cat', '/etc/hostname']).decode()", "it runs cat"),
    "a shell": ("import os", "os.system('true')", "it runs"),
    "a program in a thread": (IN_A_THREAD, "list(T(1).map(subprocess.run, [['cat', 'x']]))", "it runs cat"),
    "a program by asyncio": (BY_ASYNCIO, "asyncio.run(go())", "it runs cat"),
    "a program in a terminal": ("import pty", "pty.spawn(['cat', 'table.txt'])", "it runs"),
    "another Python": (
        "import multiprocessing as m, os",
        "m.get_context('spawn').Pool(1).map(os.listdir, ['.'])",
        "it runs another Python",
    ),
    "a datagram": (
        "import socket",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
        "it uses the network",
    ),
    "a name of an address": ("import socket", "socket.gethostbyaddr('127.0.0.1')", "it uses the network"),
    "the network": ("import socket", "socket.create_connection(('127.0.0.1', 9))", "it uses the network"),
    "a name of the network": ("import socket", "socket.gethostbyname('localhost')", "it uses the network"),
    "the user's own folder": ("import os, pwd", "open(pwd.getpwuid(os.getuid()).pw_dir + '/.none').read()", "it opens"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(recipe, case, monkeypatch):
    monkeypatch.chdir(recipe.folder)
    top, value, what = CASES[case]
    recipe.write("fast.py", "SCALE = 7\n")
    recipe.write("table.txt", "7\n")
    recipe.write("tables/a.txt", "7\n")
    (recipe.folder / "link").symlink_to("table.txt")
    recipe.source(top, value)
    assert what in recipe.refused()


def test_a_package_of_another_recipe_is_not_the_machines_wherever_its_loader_is_named(recipe, monkeypatch):
    """As Python 3.16 will not name it in the module itself."""
    monkeypatch.chdir(recipe.folder)
    recipe.write("parts/__init__.py", "SCALE = 7\ndel __loader__\n")
    recipe.write("parts/table.txt", "7\n")
    recipe.source("import parts", "parts.SCALE")
    first = declared(recipe.folder / "recipe.py", recipe.folder / "parts/__init__.py")
    other = recipe.write("other.py", "def build():\n    return open('parts/table.txt').read()\n")
    calls = [(f"{__name__}:build", {"declared": one}) for one in (first, declared(other))]
    with pytest.raises(StepError, match="it opens"):
        run_forked(calls, recipe.log, None)


def test_an_environment_around_the_project_makes_none_of_its_files_the_machines(recipe, monkeypatch):
    """As `python -m venv .` does it."""
    monkeypatch.chdir(recipe.folder)
    monkeypatch.setattr(sys, "prefix", str(recipe.folder))
    recipe.write("table.txt", "7\n")
    recipe.source("", "open('table.txt').read()")
    assert "it opens" in recipe.refused()


@pytest.mark.parametrize("reads", ["parts", "parts/fast.py"])
def test_a_file_that_is_loaded_by_its_path_is_not_taken_from_pycache(recipe, reads):
    path = recipe.write("parts/fast.py", "SCALE = 7\n")
    py_compile.compile(str(path))
    keep_times(path, "SCALE = 9\n")
    recipe.source(BY_PATH.replace('with_name("fast.py")', 'parent / "parts/fast.py"'), "go()")
    assert recipe.build(reads) == 9


@pytest.mark.parametrize("beside", [True, False], ids=["beside its source", "alone"])
def test_a_compiled_module_is_refused(recipe, beside):
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    code = recipe.write("fast.c", "void *PyInit_fast(void) { return 0; }\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", recipe.folder / f"fast{suffix}", code], check=True)
    if beside:
        recipe.write("fast.py", "SCALE = 7\n")
    recipe.source("import fast", "1")
    assert "fast is compiled" in recipe.refused()


def test_a_module_without_source_is_refused(recipe):
    path = recipe.write("fast.py", "SCALE = 7\n")
    py_compile.compile(str(path), cfile=str(recipe.folder / "fast.pyc"))
    path.unlink()
    recipe.source("import fast", "fast.SCALE")
    assert "fast is compiled" in recipe.refused()


def test_code_of_an_editable_installation_is_refused(recipe, monkeypatch):
    """As `pip install -e` does it: a path file that puts a folder of the user's on `sys.path`."""
    monkeypatch.syspath_prepend(str(recipe.lib))
    recipe.source("import outside", "outside.SCALE")
    assert "outside is imported from" in recipe.refused()
    recipe.source("import importlib.metadata as m", "len(list(m.distributions())) > 0")
    assert recipe.build() is True, "that it is there harms nobody"


# Allowed


def test_the_environment_is_the_same_for_everyone(recipe, monkeypatch):
    value = "[dict(os.environ), os.path.expanduser('~'), str(Path.home()), os.getenv('LANG')]"
    recipe.source("import os, tempfile", value)
    first = recipe.build()
    for name in ("HOME", "LANG", "LC_ALL", "PATH", "USER", "TZ", "TMPDIR", "SECRET", "LD_LIBRARY_PATH"):
        monkeypatch.setenv(name, "/other" if name != "TMPDIR" else str(recipe.folder))
    assert recipe.build() == first
    assert os.environ["TZ"] == "/other"


def test_what_is_declared_what_it_makes_itself_and_what_belongs_to_the_machine(recipe, monkeypatch):
    recipe.write("tables/a/x.txt", "7")
    recipe.write("table.txt", "7")
    top = """
        import json, os, shutil, sqlite3, tempfile, zoneinfo
        import numpy as np
        def go():
            here = Path(__file__).parent
            read = [path.read_text() for path in sorted((here / "tables").rglob("*.txt"))]
            assert (here / "table.txt").exists() and not (here / "tables/none").exists() and here.is_dir()
            with tempfile.TemporaryDirectory() as folder:
                np.savez(Path(folder, "x.npz"), x=np.arange(3))
                read.append(int(np.load(Path(folder, "x.npz"))["x"].sum()))
                os.makedirs(Path(folder, "a/b"))
                os.makedirs("scratch", exist_ok=True)
                Path("scratch").mkdir(exist_ok=True)
                os.symlink(here / "table.txt", Path(folder, "link"))
                assert Path(folder, "link").read_text() == "7"
                assert os.listdir(folder) and not Path(folder, "none").exists()
            with tempfile.NamedTemporaryFile() as file, tempfile.TemporaryFile() as other:
                other.write(b"x")
                read.append(open(file.name).read())
            sqlite3.connect(":memory:")
            assert Path(__file__).read_text() and os.path.realpath(__file__) and open("/dev/null").read() == ""
            return read
    """
    recipe.source(top, "go()")
    recipe.write("scratch/old", "7")
    monkeypatch.chdir(recipe.folder)
    assert recipe.build("tables", "table.txt") == ["7", 3, ""]


def test_everything_is_as_before_when_it_is_over(recipe):
    from pipeline.compilers.confinement import confined
    from pipeline.compilers.declared import Declared

    before = dict(os.environ), list(sys.meta_path), os.stat, sys.dont_write_bytecode
    with confined(Declared(**declared(recipe.folder / "recipe.py"))):
        assert os.environ["HOME"] == "/nonexistent"
    assert (dict(os.environ), list(sys.meta_path), os.stat, sys.dont_write_bytecode) == before
    assert (recipe.lib / "table.txt").read_text() == "7\n"


@pytest.mark.parametrize(
    "text", ["ast.literal_eval('1 2')", "compile('1 2', '<made>', 'exec')", "eval('1 2')", "ast.parse('def')"]
)
def test_text_that_is_no_python_is_a_mistake_in_text(recipe, text):
    """Python looks for a file that is called as the code is, `<string>`, to quote the line from."""
    recipe.source(
        f"import ast\ndef one():\n    try:\n        {text}\n    except SyntaxError as e:\n        return e.msg",
        "one()",
    )
    assert "invalid syntax" in recipe.build()


def test_what_goes_wrong_is_reported_whatever_that_reads(recipe):
    """The traceback of Python 3.13 parses a line to mark what raised in it."""
    recipe.source("", "[][\n  1]")
    with pytest.raises(StepError, match="build raised IndexError"):
        recipe.build()
