// Bundles every widget of src/ into ../inversescope_nb/static/ and writes manifest.json beside them:
// a hash of the sources (the Python tests recompute it and fail when the build is older) and each
// bundle's size, checked here against its limit.
import { createHash } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "inversescope_nb", "static");
const LIMIT = 60 * 1024;
const ENTRIES = ["token_picker", "sample_gallery", "consistency_panel", "site_sweep", "pins", "comparison", "scope", "chart", "viewer"];
const UNLIMITED = new Set(["chart.js"]); // vega, vega-lite and vega-embed

async function sources(folder) {
  const found = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) found.push(...(await sources(path)));
    else found.push(path);
  }
  return found;
}

/** SHA-256 over "name NUL content NUL" of every source, in order of the name. */
async function sourceHash() {
  const files = [...(await sources(join(here, "src"))), join(here, "build.mjs"), join(here, "package-lock.json")];
  const named = files.map((path) => [relative(here, path).split("\\").join("/"), path]);
  named.sort(([a], [b]) => (a < b ? -1 : 1));
  const hash = createHash("sha256");
  for (const [name, path] of named) {
    hash.update(name).update("\0").update(await readFile(path)).update("\0");
  }
  return hash.digest("hex");
}

await mkdir(out, { recursive: true });
await build({
  entryPoints: ENTRIES.map((name) => join(here, "src", `${name}.ts`)),
  outdir: out,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  charset: "ascii",
  legalComments: "none",
  logLevel: "warning",
});
await copyFile(join(here, "src", "isn.css"), join(out, "isn.css"));

const bundles = {};
for (const name of [...ENTRIES.map((entry) => `${entry}.js`), "isn.css"]) {
  const { size } = await stat(join(out, name));
  if (size > LIMIT && !UNLIMITED.has(name)) throw new Error(`${name} is ${size} bytes; at most ${LIMIT} are allowed`);
  bundles[name] = size;
}
await writeFile(
  join(out, "manifest.json"),
  `${JSON.stringify({ sources_sha256: await sourceHash(), bundles }, null, 2)}\n`,
);
for (const [name, size] of Object.entries(bundles)) console.log(`${name.padEnd(24)} ${(size / 1024).toFixed(1)} KiB`);
