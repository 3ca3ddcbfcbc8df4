// A model in a `.wasm` module: answers what `pipeline/runners/wire.py` describes. In Node and in a page alike.

// Not the model's fault: this machine `lacks` something, or the model is `unsuited` for it. Two lines: what, and the cure.
export class NotHere extends Error {
  constructor(said, message) {
    super(message);
    this.said = said;
  }
}

const utf8 = new TextDecoder();
const bytesOf = (part) => (typeof part === "string" ? new TextEncoder().encode(part) : part);

// Parts of an answer in one piece.
export function joined(parts) {
  const all = parts.map(bytesOf);
  const made = new Uint8Array(all.reduce((sum, one) => sum + one.length, 0));
  let at = 0;
  for (const one of all) made.set(one, (at += one.length) - one.length);
  return made;
}

// What goes wrong before the model is ready.
export const whyNot = (error) => joined(text(error.said ?? "failed", error.message ?? String(error)));

export const text = (word, content) => [`${word} ${bytesOf(content).length}\n`, content];

class Input {
  constructor(stream) {
    this.chunks = stream[Symbol.asyncIterator]();
    this.held = new Uint8Array(0);
  }
  // The words of the next line; null at the end.
  async words() {
    let end;
    while ((end = this.held.indexOf(10)) < 0) {
      const { value, done } = await this.chunks.next();
      if (done) return null;
      this.held = joined([this.held, value]);
    }
    const line = utf8.decode(this.held.subarray(0, end));
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
    return joined(parts);
  }
}

// A device for a module, from what `navigator.gpu` has; `cure` is for a machine without any.
export async function gpuFor(tvmjs, bytes, cure) {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new NotHere("lacks", cure);
  const gpu = await tvmjs.detectGPUDevice();
  if (holds(bytes, "enable f16;") && !gpu.device.features.has("shader-f16")) {
    throw new NotHere("unsuited", `the GPU ${nameOf(gpu)} has no float16 (shader-f16)\ntake a float32 variant of the model, or another driver or GPU`);
  }
  gpu.device.addEventListener("uncapturederror", ({ error }) => console.error(`WebGPU: ${error.message}`));
  return gpu;
}

export const nameOf = ({ adapterInfo: info }) => info.description || info.device || info.architecture || info.vendor;

function holds(bytes, word) {
  const wanted = bytesOf(word);
  for (let at = -1; (at = bytes.indexOf(wanted[0], at + 1)) >= 0; ) {
    if (wanted.every((byte, i) => bytes[at + i] === byte)) return true;
  }
  return false;
}

// Answer requests until they end.
//   bytes: the module; gpu: of `gpuFor`, or null; input: an async iterable of Uint8Array; say: takes one, gives a promise;
//   read: gives a promise of a file's bytes; note: is told of each answer
export async function serve({ tvmjs, bytes, gpu, input: stream, say, read, note = () => {} }) {
  const tvm = await tvmjs.instantiate(bytes, tvmjs.createPolyfillWASI());
  tvm.beginScope();
  if (gpu) tvm.initWebGPU(gpu.device);
  const cpu = tvm.cpu();
  const device = gpu ? tvm.webgpu() : cpu;
  const vm = tvm.detachFromCurrentScope(tvm.createVirtualMachine(device));
  if (gpu) await tvm.asyncLoadWebGPUPipelines(vm.getInternalModule());
  tvm.endScope();

  const held = [];
  let parameters = new Map();
  const input = new Input(stream);

  function tensor(shape, dtype, data) {
    const here = tvm.empty(shape, dtype, cpu).copyFromRawBytes(data);
    return gpu ? tvm.empty(shape, dtype, device).copyFrom(here) : here;
  }

  async function load(folder) {
    for (const one of parameters.values()) one.dispose();
    parameters = new Map();
    for (const shard of JSON.parse(utf8.decode(await read(`${folder}/tensor-cache.json`))).records) {
      const data = await read(`${folder}/${shard.dataPath}`);
      if (data.length !== shard.nbytes) throw new Error(`${shard.dataPath} has ${data.length} bytes, and tensor-cache.json says ${shard.nbytes}`);
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
      case "text": return utf8.decode(await input.bytes(Number(rest[0])));
      case "parameter": return parameters.get(utf8.decode(await input.bytes(Number(rest[0]))));
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

  const name = gpu ? nameOf(gpu) : "";
  const software = gpu && (/llvmpipe|lavapipe|swiftshader|software/i.test(name) || gpu.adapterInfo.isFallbackAdapter);
  await say(joined(text("ready 1", software ? name || "a software GPU" : "")));

  for (let request; (request = await input.words()) !== null; ) {
    const [verb, called, count] = request;
    tvm.beginScope();
    try {
      const given = [];
      for (let n = Number(count); n > 0; --n) given.push(await value());
      const began = performance.now();
      let result = null;
      if (verb === "parameters") await load(given[0]);
      else result = (verb === "call" ? vm.getFunction(called) : tvm.getGlobalFunc(called))(...given);
      result = copied(result);
      if (gpu) await device.sync();
      const taken = performance.now() - began;
      const answer = parts(result);
      note(verb === "parameters" ? verb : called, taken, answer[0].trim(), result);
      await say(joined([`done ${Math.round(taken * 1e6)}\n`, ...answer]));
    } catch (error) {
      console.error(error);
      await say(joined(text("failed", error instanceof Error ? error.message : String(error))));
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
