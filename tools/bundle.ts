/** Bundles of the program `degu`, and of the npm packages of the other packages. */

import { relative } from "node:path";
import { runOrThrow } from "../tests/support/commands.ts";
import { fromFileUrl } from "../tests/support/offline/path.ts";
import { PROJECT_ROOT } from "./standard_library.ts";

/** The flags with which Deno loads exactly the npm packages of the lock file. */
export const LOCK_FLAGS: readonly string[] = ["--lock=agent/deno.lock", "--frozen"];

/** The path of the directory in Deno's cache with the packages of a registry. */
const CACHED_PATH = /(?:\.\.\/)+[^"\s]*\/npm\/[^/"\s]+\//g;

/** What the bundler puts before packages that call `require`. `node:module` loads all of Node. */
const MADE_REQUIRE =
  /import \{ createRequire as (\w+) \} from "node:module";\nvar __require = \1\(import\.meta\.url\);/;
const BUILTIN_REQUIRE = "var __require = (name) => process.getBuiltinModule(name);";

/**
 * Bundles the program into an empty directory, with source maps beside it, to decode stacks.
 * `main.ts` starts the program, which needs no other module, and starts faster, because it has
 * fewer modules. The modules don't name their maps, because Deno would read some of them at each
 * start.
 */
export async function bundleProgram(directory: string): Promise<void> {
  const flags = ["--code-splitting", "--sourcemap=external", "--config=agent/deno.json"];
  await bundle(directory, [...flags, "agent/main.ts"]);
  // The program resolves its main module by the name of its source.
  await Deno.rename(`${directory}/main.js`, `${directory}/main.ts`);
}

/** Bundles npm packages, each into a module `NAME.js` of a directory with the default export. */
export async function bundleNpmPackages(
  directory: string,
  specifiers: Readonly<Record<string, string>>,
): Promise<void> {
  const sources = await Deno.makeTempDir({ dir: "/tmp", prefix: "degu-npm-" });
  try {
    const paths: string[] = [];
    for (const [name, specifier] of Object.entries(specifiers)) {
      const path = `${sources}/${name}.js`;
      await Deno.writeTextFile(path, `export { default } from ${JSON.stringify(specifier)};\n`);
      paths.push(path);
    }
    await bundle(directory, ["--config=deno.json", ...paths]);
  } finally {
    await Deno.remove(sources, { recursive: true });
  }
}

async function bundle(directory: string, args: readonly string[]): Promise<void> {
  const root = fromFileUrl(PROJECT_ROOT);
  const command = [Deno.execPath(), "bundle", "--quiet", ...LOCK_FLAGS, "--outdir", directory];
  await runOrThrow([...command, ...args], { cwd: root });
  // The paths of this machine contain the name of a user.
  const removePath = (text: string) => text.replaceAll(CACHED_PATH, "npm/");
  const prefix = `${relative(directory, root)}/`;
  for await (const { name } of Deno.readDir(directory)) {
    const path = `${directory}/${name}`;
    let text = await Deno.readTextFile(path);
    if (name.endsWith(".map")) {
      const map: { sources: string[] } = JSON.parse(text);
      map.sources = map.sources.map((source) => removePath(source).replace(prefix, ""));
      text = JSON.stringify(map);
    } else text = removePath(text).replace(MADE_REQUIRE, BUILTIN_REQUIRE);
    await Deno.writeTextFile(path, text);
  }
}
