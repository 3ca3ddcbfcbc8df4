"""The ES module of a web kit, run in Node with a fake runtime: what it loads, checks and keeps.

The real runtime and module are in the tests of the runners; here are the cases that no good build has.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.compilers import tensor_cache
from pipeline.documents.archive import ArchivedModel
from pipeline.documents.functions import Function, Value
from pipeline.documents.link_json import LinkedModule
from pipeline.kits.kit import Kit, KitArchive
from pipeline.kits.render import Templates
from pipeline.matrix.cells import Backend
from pipeline.steps.linkkit import PAGES, context

FAKE_RUNTIME = Path(__file__).with_name("fake_tvmjs.mjs")
SCALE = Value("scale", "float32", (4,), parameter=True)
FUNCTIONS = (
    Function(
        "forward",
        (Value("x", "float32", ("n", 4)), Value("packed", "tuple", items=(SCALE,), parameter=True)),
        (Value("output_0", "float32", ("n", 4)),),
    ),
    Function("step", (Value("position", "int"), Value("cache", "object", None)), (Value("output_0", "object", None),)),
)


def backend(name: str, kind: str) -> Backend:
    return Backend(name, {"kind": kind}, "wasm32-unknown-unknown-wasm", "wasm32", "wasm", None, "wasm", (), ())


@pytest.fixture
def kit(tmp_path) -> Path:
    """A kit for pages with one model, on WebGPU and on the CPU, and its bundle."""
    options = {"scale": 2.0, "static_text_len": 512}
    model = ArchivedModel("first", "f32", "first-f32", "first_f32_", options, (), "bin", "2025-09", None, FUNCTIONS)
    places = {"page": backend("page", "webgpu"), "cpu": backend("cpu", "llvm")}
    archives = tuple(
        KitArchive(name, f"{name}/libmodels.a", (one,), ("wasm32",), "wasm", "wasm", (model,), b"")
        for name, one in places.items()
    )
    modules = tuple(LinkedModule("first-f32", name, f"wasm/first-f32-{name}.wasm", 8, "") for name in places)
    values = context(Kit("web", "web", "models", archives, modules=modules))
    folder = tmp_path / "kit"
    (folder / "wasm").mkdir(parents=True)
    for pattern, template in PAGES:
        (folder / pattern.format(product="web")).write_text(Templates().render(template, values))
    for module in modules:
        (folder / module.file).write_text("a module")
    bundle = folder / "first-f32"
    bundle.mkdir()
    tensor_cache.write([("other", np.ones(3, "int32")), ("scale", np.full(4, 2, "float32"))], bundle)
    return folder


def node(folder: Path, script: str) -> list[str]:
    """Run a script with the kit and the fake runtime in scope; the lines it prints."""
    (folder / "fake.mjs").write_text(FAKE_RUNTIME.read_text())
    (folder / "script.mjs").write_text(
        'import * as tvmjs from "./fake.mjs";\nimport { FirstF32, tensor } from "./web.js";\n'
        "const said = async (what) => console.log(await what().then(() => 'not refused', (error) => error.message));\n"
        f"{script}\n"
    )
    done = subprocess.run(["node", "script.mjs"], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_model_is_opened_called_and_leaks_nothing(kit):
    said = node(
        kit,
        """
const model = await FirstF32.open(tvmjs, "first-f32");
const x = tensor([2, 4], Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8));
const [one, two] = await Promise.all([model.forward(x), model.forward(x)]);
console.log(one.shape.join(), one.values.join(), two.values.length, FirstF32.STATIC_TEXT_LEN);
const kept = tvmjs.made[0].kept;
for (let i = 0; i < 5; ++i) await model.forward(x);
console.log(tvmjs.made[0].kept - kept, tvmjs.made[0].scopes.length);
""",
    )
    assert said == ["2,4 2,4,6,8,10,12,14,16 8 512", "0 0"]


def test_a_closed_model_ends_what_has_begun_and_takes_no_more(kit):
    said = node(
        kit,
        """
const model = await FirstF32.open(tvmjs, "first-f32");
const x = tensor([1, 4], Float32Array.of(1, 2, 3, 4));
const begun = model.forward(x);
const closed = Promise.all([model.close(), model.close()]);
await said(() => model.forward(x));
console.log((await begun).values.join(), tvmjs.made[0].disposed ?? 0);
await closed;
console.log(tvmjs.made[0].disposed);
""",
    )
    assert said == ["this FirstF32 is closed: forward cannot be called", "2,4,6,8 0", "1"]


def test_where_there_is_a_gpu_the_module_for_it_is_taken(kit):
    script = """
globalThis.withGpu = %s;
await FirstF32.open(tvmjs, "first-f32");
console.log(tvmjs.made[0].gpu ?? false);
await said(() => FirstF32.open(tvmjs, "first-f32", { device: "webgpu" }));
"""
    assert node(kit, script % "true") == ["true", "not refused"]
    assert node(kit, script % "false") == ["false", "first-f32 runs on WebGPU, and there is none here"]


def test_wrong_arguments_are_named(kit):
    said = node(
        kit,
        """
const model = await FirstF32.open(tvmjs, "first-f32");
await said(() => model.forward(tensor([1, 3], new Float32Array(3))));
await said(() => model.forward(tensor([2, 4], new Float32Array(4))));
await said(() => model.forward(tensor([1, 4], new Int32Array(4))));
await said(() => model.call("forward"));
await said(() => model.step("one", {}));
await said(() => model.step(1));
await said(() => model.step(1, undefined));
console.log((await model.forward(tensor([1, 4], new Float32Array(4)))).shape.join());
""",
    )
    assert said == [
        "forward: argument `x` has the shape [1, 3], and must have [n, 4]",
        "forward: argument `x` has 4 values, and its shape [2, 4] needs 8",
        "forward: argument `x` must be {shape, values}, with values in a Float32Array of float32",
        "forward takes 1 arguments (x), and was given 0",
        "step: argument `position` must be a int",
        "step: argument `cache` must be something that a call returned",
        "step: argument `cache` must be something that a call returned",
        "1,4",
    ]


def replaced(old: str, new: str):
    def spoil(bundle: Path) -> None:
        text = (bundle / "tensor-cache.json").read_text()
        assert old in text
        (bundle / "tensor-cache.json").write_text(text.replace(old, new))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda b: (b / "params_shard_0.bin").unlink(), "params_shard_0.bin cannot be read (ENOENT)"),
        (lambda b: (b / "params_shard_0.bin").write_bytes(b"1234"), "has 4 bytes where tensor-cache.json says 28"),
        (lambda b: (b / "tensor-cache.json").unlink(), "tensor-cache.json cannot be read (ENOENT)"),
        (lambda b: (b / "tensor-cache.json").write_text("{"), "tensor-cache.json is damaged, ship it again"),
        (lambda b: (b / "tensor-cache.json").write_text("{}"), "tensor-cache.json is damaged, ship it again"),
        (replaced('"params_shard_0.bin"', '"../params_shard_0.bin"'), "is not beside it"),
        (replaced('"scale"', '"scales"'), "has no parameter scale"),
        (replaced('"byteOffset": 12', '"byteOffset": 13'), "lies outside of its shard"),
        (replaced('"float32"', '"int32"'), "is int32[4] in"),
    ],
)
def test_a_damaged_bundle_is_refused_with_what_is_wrong(kit, spoil, message):
    spoil(kit / "first-f32")
    (said,) = node(kit, 'await said(() => FirstF32.open(tvmjs, "first-f32"));')
    assert message in said


TYPES = """
import { FirstF32, tensor, WebRuntime } from "./web.js";
declare const tvmjs: WebRuntime;
const model = await FirstF32.open(tvmjs, "first-f32");
const y = await model.forward(tensor([2, 4], new Float32Array(8)));
const open: number = y.shape[0], constant: 4 = y.shape[1], length: 512 = FirstF32.STATIC_TEXT_LEN;
// @ts-expect-error another dtype
await model.forward(tensor([2, 4], new Int32Array(8)));
// @ts-expect-error another constant extent
await model.forward(tensor([2, 3], new Float32Array(6)));
// @ts-expect-error another number of dimensions
await model.forward(tensor([8], new Float32Array(8)));
// @ts-expect-error the bundle is needed
await FirstF32.open(tvmjs);
"""


def test_a_shard_that_is_downloaded_is_held_against_its_digest(kit):
    script = """
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
const server = createServer((request, answer) => answer.end(readFileSync(`.${request.url}`))).listen(0, "127.0.0.1");
await new Promise((done) => server.on("listening", done));
await said(() => FirstF32.open(tvmjs, `http://127.0.0.1:${server.address().port}/first-f32`));
server.close();
"""
    assert node(kit, script) == ["not refused"]
    shard = kit / "first-f32" / "params_shard_0.bin"
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    (said,) = node(kit, script)
    assert said.endswith("is not the file that tensor-cache.json lists, its SHA-256 is another: ship the bundle again")


def test_types_hold_dtypes_and_constant_extents(kit):
    compiler = shutil.which("tsc")
    if compiler is None:
        pytest.skip("there is no TypeScript (npm install -g typescript)")
    (kit / "use.ts").write_text(TYPES)
    words = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext"]
    done = subprocess.run(
        [compiler, *words, "use.ts"], cwd=kit, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout
