"""Step `runtime`: the static libraries of the TVM (or mlc_llm) runtime for one backend, which an app links with models.

Built by CMake from a checkout, in a folder of the backend's own that is kept, so that a changed source file costs one
compile; or taken from archives that somebody else built. The checkout itself is only read: what is built is a mirror of
links to its files. The engine runs it; `verify` holds models against the result, and kits ship it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline import roles
from pipeline.action import Facts, Job, present
from pipeline.documents.codec import dumps
from pipeline.documents.runtime import RuntimeManifest
from pipeline.errors import StepError
from pipeline.files import hash_path
from pipeline.matrix.cells import Backend
from pipeline.matrix.source import demand_pinned
from pipeline.native import settings
from pipeline.native.cmake import Build
from pipeline.native.collect import Library, from_archive, from_objects
from pipeline.native.libraries import wanted
from pipeline.native.source_tree import SourceTree, built_by_times, mirror, read_tree
from pipeline.nearest import listed
from pipeline.platforms import SDKS, sdk_tool
from pipeline.process import run as run_program


@dataclass(frozen=True)
class Params:
    """What the step is given.

    Attributes:
        backend: without `kernels`, which no runtime depends on.
        libraries: targets of CMake; none means those that an app links.
        options: further variables for CMake.
        prebuilt: what each archive that was built elsewhere must hash to (None: not pinned); None for a build.
    """

    backend: Backend
    libraries: tuple[str, ...]
    options: Mapping[str, str]
    prebuilt: tuple[str | None, ...] | None


def run(job: Job[Params]) -> Facts:
    """Write the archives and `runtime.json`.

    Returns:
        Facts: `libraries`, `bytes`, and for a build `project` and how many `sources` the checkout has.

    Raises:
        StepError: the checkout does not build, or what it makes is not for this backend.
        ToolMissing: this machine cannot build for the backend.
    """
    facts: dict[str, object] = {}
    if job.params.prebuilt is not None:
        libraries = _prebuilt(job, job.params.prebuilt)
        project = None
    else:
        project, libraries, facts = _built(job)
    for library, data in libraries:
        job.write(library.file, data)
    document = RuntimeManifest(job.params.backend, project, tuple(library for library, _ in libraries))
    job.write(RuntimeManifest.NAME, dumps(document))
    return {
        **facts,
        "libraries": [library.name for library in document.libraries],
        "bytes": sum(library.size for library in document.libraries),
    }


def _prebuilt(job: Job[Params], pins: tuple[str | None, ...]) -> list[Library]:
    libraries = []
    for number, pinned in enumerate(pins):
        path = job.inputs[roles.prebuilt(number)]
        demand_pinned(path.name, hash_path(path), pinned, path)
        if not (path.name.startswith("lib") and path.suffix == ".a"):
            raise StepError("it is not called lib<name>.a", where=path, hint="give the static libraries, one file each")
        libraries.append(from_archive(path.stem.removeprefix("lib"), path, job.params.backend))
    files = [library.file for library, _ in libraries]
    twins = [file for n, file in enumerate(files) if file in files[:n]]
    if twins:
        raise StepError(f"two of the prebuilt archives are called {twins[0]}", hint="name each once")
    return libraries


def _built(job: Job[Params]) -> tuple[str, list[Library], dict[str, object]]:
    backend = job.params.backend
    checkout = job.tools.get(roles.CHECKOUT)
    if checkout is None:
        raise StepError("there is no checkout to build the runtime from", hint="correct `runtime.source`")
    cmake = present(
        job.tools.get("cmake"), "the runtime is built by CMake, which is not installed", "pip install cmake"
    )
    sdk_path = _sdk_path(job)
    home = job.cache_dir("cmake", backend.name)
    tree = read_tree(checkout.path)
    if tree.version != checkout.version:
        raise StepError("the checkout changed a moment ago", where=tree.root, hint="run doit again")
    source = home / "source"
    mirror(tree, source)
    with built_by_times(tree, home) as folder:
        build = Build(cmake.path, source, folder, job.log)
        values = {
            **settings.settings(backend, job.tools, source=source, sdk_path=sdk_path),
            **settings.flags(backend, renamed={folder: "build", source: "source"}, sdk_path=sdk_path),
            **job.params.options,
            **settings.launcher(shutil.which("ccache")),  # no tool of the key: it changes nothing but the time it takes
        }
        build.configure(
            values, {name: tool.version for name, tool in job.tools.items() if tool and name != roles.CHECKOUT}
        )
        project, targets = build.describe()
        device = backend.device_kind
        chosen = wanted(project, targets, device=device, asked=list(job.params.libraries), folder=build.folder)
        build.build(dict.fromkeys(target for library in chosen for target in library.targets))
    _check_untouched(tree)
    libraries = [
        from_objects(one.name, one.objects, backend)
        if one.archive is None
        else from_archive(one.name, one.archive, backend)
        for one in chosen
    ]
    return project, libraries, {"project": project, "sources": len(tree.files)}


def _sdk_path(job: Job[Params]) -> str | None:
    """The directory of an Apple platform's SDK; None for any other platform."""
    backend = job.params.backend
    platform = backend.platform
    if platform not in SDKS:
        return None
    tool = present(
        job.tools.get(sdk_tool(platform)),
        f"the runtime of backend {backend.name} is built with Xcode's {SDKS[platform]} SDK, which this machine does "
        "not have",
        "build on a Mac with Xcode, or give archives that one has built: `prebuilt:` in `runtime`",
    )
    words = (tool.path, "-sdk", SDKS[platform], "--show-sdk-path")
    return run_program(words, log=job.log, apart=True).output.strip()


def _check_untouched(tree: SourceTree) -> None:
    """The checkout must be what it was: links lead into it, and a build may have written through one."""
    now = read_tree(tree.root)
    changed = sorted(path for path, about in {**tree.files, **now.files}.items() if tree.files.get(path) != about)
    changed += sorted(path for path in tree.files if path not in now.files)
    if changed:
        raise StepError(
            f"{listed(changed, 1)} changed while the runtime was built",
            where=tree.root,
            hint="let whoever edits the checkout finish, then run doit again; if it was the build, report it",
        )
