// A model in a `.wasm` module, in Node: answers what `pipeline/runners/wire.py` describes.
//
//   node program.mjs <folder with node_modules> <module.wasm> cpu|webgpu
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [packages, file, kind] = process.argv.slice(2);
// Standard output is for answers: what the runtime prints goes to the log.
for (const name of ["log", "info", "warn", "debug"]) console[name] = console.error;

class Input {
  constructor(stream) {
    this.chunks = stream[Symbol.asyncIterator]();
    this.held = Buffer.alloc(0);
  }
  async more() {
    const { value, done } = await this.chunks.next();
    if (!done) this.held = Buffer.concat([this.held, value]);
    return !done;
  }
  // The words of the next line; null at the end.
  async words() {
    let end;
    while ((end = this.held.indexOf(10)) < 0) if (!(await this.more())) return null;
    const line = this.held.toString("latin1", 0, end);
    this.held = this.held.subarray(end + 1);
    return line.split(" ");
  }
  async bytes(size) {
    const parts = [this.held.subarray(0, size)];
    let have = parts[0].length;
    this.held = this.held.subarray(size);
    while (have < size) {
      const { value, done } = await this.chunks.next();
      if (done) throw new Error("the input ended early");
      parts.push(value.subarray(0, size - have));
      have += parts.at(-1).length;
      this.held = value.subarray(parts.at(-1).length);
    }
    return Buffer.concat(parts, size);
  }
}

const say = (...parts) =>
  new Promise((done, failed) => process.stdout.write(Buffer.concat(parts.map((part) => Buffer.from(part))), (error) => (error ? failed(error) : done())));
const text = (word, content) => {
  const data = Buffer.from(content, "utf8");
  return [`${word} ${data.length}\n`, data];
};

class Lacks extends Error {}

async function withGpu(tvmjs) {
  const home = join(packages, "node_modules", "webgpu", "index.js");
  const { create, globals } = await import(pathToFileURL(home));
  Object.assign(globalThis, globals);
  const gpu = create(process.platform === "linux" ? ["backend=vulkan"] : []);
  Object.defineProperty(globalThis, "navigator", { value: { gpu }, configurable: true });
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Lacks("Dawn finds no GPU that it can use\ninstall a Vulkan driver (software: Mesa 24 or later; Debian, Ubuntu: apt-get install mesa-vulkan-drivers, on Debian 12 from its backports)");
  return tvmjs.detectGPUDevice();
}

async function main() {
  const tvmjs = createRequire(join(packages, "package.json"))("@mlc-ai/web-runtime");
  const bytes = readFileSync(file);
  const gpu = kind === "webgpu" ? await withGpu(tvmjs) : null;
  if (gpu && bytes.includes("enable f16;") && !gpu.device.features.has("shader-f16")) {
    throw new Lacks(`the GPU ${gpu.adapterInfo.description || gpu.adapterInfo.vendor} has no float16 (shader-f16)\nuse another driver, or a float32 variant of the model`);
  }
  const tvm = await tvmjs.instantiate(new Uint8Array(bytes), tvmjs.createPolyfillWASI());
  tvm.beginScope();
  if (gpu) tvm.initWebGPU(gpu.device);
  const cpu = tvm.cpu();
  const device = gpu ? tvm.webgpu() : cpu;
  const vm = tvm.detachFromCurrentScope(tvm.createVirtualMachine(device));
  if (gpu) await tvm.asyncLoadWebGPUPipelines(vm.getInternalModule());
  tvm.endScope();

  const held = [];
  let parameters = new Map();
  const input = new Input(process.stdin);

  function tensor(shape, dtype, data) {
    const here = tvm.empty(shape, dtype, cpu).copyFromRawBytes(new Uint8Array(data.buffer, data.byteOffset, data.length));
    return gpu ? tvm.empty(shape, dtype, device).copyFrom(here) : here;
  }

  function load(folder) {
    for (const one of parameters.values()) one.dispose();
    parameters = new Map();
    for (const shard of JSON.parse(readFileSync(join(folder, "tensor-cache.json"), "utf8")).records) {
      const data = readFileSync(join(folder, shard.dataPath));
      for (const record of shard.records) {
        if (record.format !== "raw") throw new Error(`${record.name} is encoded as ${record.format}`);
        tvm.beginScope();
        const own = data.subarray(record.byteOffset, record.byteOffset + record.nbytes);
        parameters.set(record.name, tvm.detachFromCurrentScope(tensor(record.shape, record.dtype, own)));
        tvm.endScope();
      }
    }
  }

  async function value() {
    const [word, ...rest] = await input.words();
    switch (word) {
      case "tensor": {
        const shape = rest.slice(2).map(Number);
        const size = new tvmjs.DLDataType(...code(rest[0])).numStorageBytes();
        return tensor(shape, rest[0], await input.bytes(shape.reduce((a, b) => a * b, size)));
      }
      case "shape": return tvm.makeShapeTuple(rest.slice(1).map(Number));
      case "int": return new tvmjs.Scalar(Number(rest[0]), "int32");
      case "float": return new tvmjs.Scalar(Number(rest[0]), "float64");
      case "none": return null;
      case "text": return (await input.bytes(Number(rest[0]))).toString("utf8");
      case "parameter": return parameters.get((await input.bytes(Number(rest[0]))).toString("utf8"));
      case "held": return held[Number(rest[0])];
      case "array": {
        const items = [];
        for (let n = Number(rest[0]); n > 0; --n) items.push(await value());
        return tvm.makeTVMArray(items);
      }
    }
    throw new Error(`${word} is no kind of value`);
  }

  // Tensors are copied off the device; what is there can be read after a sync, which `parts` does once.
  function copied(result) {
    if (result instanceof tvmjs.Tensor) return tvm.empty(result.shape, result.dtype, cpu).copyFrom(result);
    if (result instanceof tvmjs.TVMArray) return Array.from({ length: result.size() }, (_, i) => copied(result.get(i)));
    return result;
  }

  function parts(result) {
    if (result instanceof tvmjs.Tensor) return [`tensor ${[result.dtype, result.ndim, ...result.shape].join(" ")}\n`, result.toRawBytes()];
    if (Array.isArray(result)) return [`array ${result.length}\n`, ...result.flatMap(parts)];
    if (result === null || result === undefined) return ["none\n"];
    if (typeof result === "string") return text("text", result);
    if (typeof result === "number" || typeof result === "bigint") return [Number.isInteger(Number(result)) ? `int ${result}\n` : `float ${result}\n`];
    held.push(tvm.detachFromCurrentScope(result));
    return [`held ${held.length - 1}\n`];
  }

  const name = gpu ? gpu.adapterInfo.description || gpu.adapterInfo.device || gpu.adapterInfo.vendor : "";
  const software = gpu && (/llvmpipe|lavapipe|swiftshader|software/i.test(name) || gpu.adapterInfo.isFallbackAdapter);
  await say(...text("ready 1", software ? name || "a software GPU" : ""));

  for (let request; (request = await input.words()) !== null; ) {
    const [verb, called, count] = request;
    tvm.beginScope();
    try {
      const given = [];
      for (let n = Number(count); n > 0; --n) given.push(await value());
      const began = performance.now();
      let result = null;
      if (verb === "parameters") load(given[0]);
      else result = (verb === "call" ? vm.getFunction(called) : tvm.getGlobalFunc(called))(...given);
      result = copied(result);
      if (gpu) await device.sync();
      const taken = Math.round((performance.now() - began) * 1e6);
      await say(`done ${taken}\n`, ...parts(result));
    } catch (error) {
      console.error(error);
      await say(...text("failed", error instanceof Error ? error.message : String(error)));
    }
    tvm.endScope();
  }
}

// DLPack's code and bits of a dtype's name.
function code(dtype) {
  if (dtype === "bool") return [1, 8, 1];
  const [, base, bits] = /^(int|uint|float|bfloat)(\d+)$/.exec(dtype);
  return [{ int: 0, uint: 1, float: 2, bfloat: 4 }[base], Number(bits), 1];
}

main().then(
  () => process.exit(0), // Dawn keeps the loop of events alive
  async (error) => {
    console.error(error);
    if (error instanceof Lacks) await say(...text("lacks", error.message));
    process.exit(1);
  },
);
