/** Programs that import the library from a web server, and run without it. */

import { join } from "@std/path";
import { mustRun } from "./commands.ts";
import { tempDir } from "./directories.ts";
import { within } from "./raw_peer.ts";
import { makeLinks } from "./special_files.ts";

const ROOT = new URL("../../", import.meta.url);

/** Seconds: nothing is compiled yet in a cache of its own. */
const PATIENCE = 60;

interface CachedProgram {
  /** The texts of its modules by path; `/main.ts` is the program. */
  readonly texts: Readonly<Record<string, string>>;
  readonly permissions: readonly string[];
  readonly args?: readonly string[];
}

/** Loads a program from a web server into a cache of its own, runs it without the server, and returns what it prints. */
export async function runFromCache(
  { texts, permissions, args = [] }: CachedProgram,
): Promise<string> {
  await using dir = await tempDir();
  // What the certificates are made with is a dependency of the same modules, and in the cache of this process.
  const { npmCache } = JSON.parse(await runDeno(["info", "--json"], {}));
  await makeLinks({ [join(dir.path, "npm")]: npmCache });
  const site = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async ({ url }) => {
    const { pathname } = new URL(url);
    const text = texts[pathname] ?? await Deno.readTextFile(new URL(`.${pathname}`, ROOT));
    return new Response(text, { headers: { "content-type": "application/typescript" } });
  });
  const host = `127.0.0.1:${site.addr.port}`;
  const main = `http://${host}/main.ts`;
  const environment = { DENO_DIR: dir.path, HTTPS_PROXY: `http://${host}` }; // nothing else is reached
  try {
    await runDeno(["cache", `--allow-import=${host}`, main], environment);
  } finally {
    await site.shutdown();
  }
  const flags = ["--cached-only", "--no-prompt", `--allow-import=${host}`, ...permissions];
  return await runDeno(["run", ...flags, main, ...args], environment);
}

function runDeno(args: string[], env: Record<string, string>): Promise<string> {
  const running = mustRun([Deno.execPath(), ...args], { env: { NO_COLOR: "1", ...env } });
  return within(running, `deno ${args[0]} ends`, PATIENCE);
}
