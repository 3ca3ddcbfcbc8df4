// What the page does that `browser.mjs` opens: the model's own program, with what a page has for pipes and files.
import { gpuFor, nameOf, serve, whyNot } from "./model.mjs";

const NO_GPU = "Chromium finds no GPU that it can use\ninstall Chromium 113 or later with its software renderer (Debian, Ubuntu: apt-get install chromium)";
const MOST_ROWS = 40; // in the picture

const answer = (bytes, where = "answer") => fetch(where, { method: "POST", body: bytes });

async function read(path) {
  const got = await fetch(`file?${encodeURIComponent(path)}`);
  if (!got.ok) throw new Error(await got.text());
  return new Uint8Array(await got.arrayBuffer());
}

async function* requests() {
  const reader = (await fetch("requests")).body.getReader();
  for (let got; !(got = await reader.read()).done; ) yield got.value;
}

// A row of the picture for each answer.
function note(what, taken, head, result) {
  const rows = document.getElementById("calls");
  if (rows.rows.length === MOST_ROWS) return;
  const numbers = result?.dtype === "float32" ? Array.from(result.toArray().slice(0, 6), (one) => one.toPrecision(4)) : [];
  const row = rows.insertRow();
  for (const cell of [what, taken.toFixed(1), head, numbers.join("  ")]) row.insertCell().textContent = cell;
}

async function main() {
  const { module, gpu: wanted } = await (await fetch("about")).json();
  document.getElementById("name").textContent = module;
  const bytes = new Uint8Array(await (await fetch("module")).arrayBuffer());
  const gpu = wanted ? await gpuFor(tvmjs, bytes, NO_GPU) : null;
  document.getElementById("device").textContent = `${navigator.userAgent}; ${gpu ? nameOf(gpu) : "no GPU"}`;
  await serve({ tvmjs, bytes, gpu, input: requests(), say: answer, read, note });
}

main().catch(async (error) => {
  console.error(error);
  await answer(whyNot(error), "last");
});
