/**
 * Bundles the program `degu` into a directory, with source maps: `deno task bundle DIRECTORY`. The
 * bundle needs no checkout, and starts faster, because it has fewer modules. `main.ts` starts it.
 */

import { resolve } from "node:path";
import { runDeno } from "./standard_library.ts";

/** The names of the modules that the program starts as workers. */
const WORKERS = ["area_worker", "server_worker"];

const [path, ...others] = Deno.args;
if (path === undefined || path.startsWith("-") || others.length > 0) {
  console.error("usage: deno task bundle DIRECTORY");
  Deno.exit(2);
}
// A task runs in the directory of deno.json.
const directory = resolve(Deno.env.get("INIT_CWD") ?? "", path);
const isUsed = await Array.fromAsync(Deno.readDir(directory)).then(
  (entries) => entries.length > 0,
  (error) => {
    if (error instanceof Deno.errors.NotADirectory) return true;
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  },
);
if (isUsed) {
  // Other versions have modules of other names.
  console.error(`${directory} isn't an empty directory: remove it, or name another directory`);
  Deno.exit(1);
}
await Deno.mkdir(directory, { recursive: true });

const flags = ["--quiet", "--code-splitting", "--sourcemap=linked", "--outdir", directory];
const code = await runDeno(["bundle", ...flags, "--config", "agent/deno.json", "agent/main.ts"]);
if (code !== 0) Deno.exit(code);

// The program resolves its main module and its workers by the names of their sources.
await Deno.rename(`${directory}/main.js`, `${directory}/main.ts`);
const names = (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name);
for (const worker of WORKERS) {
  const module = names.find((name) => name.startsWith(`${worker}-`) && name.endsWith(".js"));
  if (module === undefined) throw new Error(`the bundle has no module of ${worker}.ts`);
  await Deno.writeTextFile(`${directory}/${worker}.ts`, `export * from "./${module}";\n`);
}
console.log(`The program is ${directory}/main.ts`);
