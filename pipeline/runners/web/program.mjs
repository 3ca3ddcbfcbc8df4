// A model in a `.wasm` module, in Node.
//
//   node program.mjs <folder with node_modules> <module.wasm> cpu|webgpu
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { gpuFor, serve } from "./model.mjs";
import { run, say } from "./stdio.mjs";

const [packages, file, kind] = process.argv.slice(2);
const NO_GPU = "Dawn finds no GPU that it can use\ninstall a Vulkan driver (software: Mesa 24 or later; Debian, Ubuntu: apt-get install mesa-vulkan-drivers, on Debian 12 from its backports)";

async function dawn(tvmjs, bytes) {
  const { create, globals } = await import(pathToFileURL(join(packages, "node_modules", "webgpu", "index.js")));
  Object.assign(globalThis, globals);
  const gpu = create(process.platform === "linux" ? ["backend=vulkan"] : []);
  Object.defineProperty(globalThis, "navigator", { value: { gpu }, configurable: true });
  return gpuFor(tvmjs, bytes, NO_GPU);
}

run(async () => {
  const tvmjs = createRequire(join(packages, "package.json"))("@mlc-ai/web-runtime");
  const bytes = new Uint8Array(readFileSync(file));
  const gpu = kind === "webgpu" ? await dawn(tvmjs, bytes) : null;
  await serve({ tvmjs, bytes, gpu, input: process.stdin, say, read: readFile });
});
