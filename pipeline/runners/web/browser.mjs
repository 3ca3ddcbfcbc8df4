// A model in a `.wasm` module, in headless Chromium, on a page of ours: `page.html`.
//
//   node browser.mjs <folder with node_modules> <module.wasm> cpu|webgpu <chromium> <picture.png>
//
// The page gets what arrives on standard input as the body of one reply, and posts its answers. Its address has a word
// that nobody can guess: what is served there is anything that this user may read.
import { randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { basename, extname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { NotHere, joined } from "./model.mjs";
import { run, say } from "./stdio.mjs";

const [packages, module, kind, chromium, picture] = process.argv.slice(2);
const ours = (name) => fileURLToPath(new URL(name, import.meta.url));
const FILES = {
  "": ours("page.html"),
  "page.mjs": ours("page.mjs"),
  "model.mjs": ours("model.mjs"),
  "tvmjs.js": join(packages, "node_modules/@mlc-ai/web-runtime/lib/index.js"),
  module,
};
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript" };
// Pages of one origin alone have a clock that is worth reading.
const ALONE = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
const FLAGS = ["--no-sandbox", "--enable-unsafe-webgpu", "--disable-background-networking", "--disable-component-update"];

function send(response, path) {
  createReadStream(path)
    .on("open", () => response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream", ...ALONE }))
    .on("error", (error) => response.writeHead(404).end(error.message))
    .pipe(response);
}

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return joined(parts);
}

run(async () => {
  const { chromium: browsers } = createRequire(join(packages, "package.json"))("playwright-core");
  const secret = randomUUID();
  let stop, fail;
  const ended = new Promise((done, failed) => ([stop, fail] = [done, failed]));
  ended.catch(() => {}); // it is awaited later
  const server = createServer(async (request, response) => {
    const { pathname, search } = new URL(request.url, "http://here");
    const [word, name] = pathname.slice(1).split("/");
    if (word !== secret) response.writeHead(404).end();
    else if (name === "about") response.end(JSON.stringify({ module: basename(module), gpu: kind === "webgpu" }));
    else if (name === "requests") process.stdin.on("end", stop).pipe(response);
    else if (name === "file") send(response, decodeURIComponent(search.slice(1)));
    else if (name === "answer") response.end(await say(await body(request)));
    else if (name === "last") stop(await say(await body(request)));
    else if (name in FILES) send(response, FILES[name]);
    else response.writeHead(404).end();
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const browser = await browsers.launch({ executablePath: chromium, args: FLAGS, timeout: 0 }).catch((error) => {
    console.error(error);
    throw new NotHere("lacks", "Chromium does not start\ninstall what the log says that it misses, or another Chromium");
  });
  const page = await browser.newPage();
  page.setDefaultTimeout(0); // whoever started this keeps the time
  page.on("console", (message) => console.error(message.text()));
  page.on("pageerror", (error) => console.error(error));
  page.on("crash", () => fail(new Error("the page crashed: out of memory, or a fault of Chromium; try another version of it")));
  browser.on("disconnected", () => fail(new Error("Chromium crashed; try another version of it")));
  await Promise.race([page.goto(`http://127.0.0.1:${server.address().port}/${secret}/`), ended]);
  await ended;
  await page.screenshot({ path: picture, fullPage: true });
  await browser.close();
});
