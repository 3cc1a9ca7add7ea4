/**
 * Where the tests' `@std` packages come from: JSR where it can be reached, else the stand-ins in
 * tests/support/offline.
 *
 * @module
 */

/** The seconds that JSR gets to answer. */
const PROBE_SECONDS = 2;

const OFFLINE_IMPORT_MAP = "tests/support/offline/import_map.json";

/** The directory of deno.json, with a slash at the end. */
export const PROJECT_ROOT: URL = new URL("../", import.meta.url);

/** Where `@std` comes from. */
export interface StandardLibrary {
  /** One line that says which it is. */
  readonly description: string;
  /** What `deno test`, `deno check` and `deno run` have to be given for it. */
  readonly flags: readonly string[];
}

/**
 * Finds out, in at most two seconds, whether every JSR package that deno.json maps can be had, from
 * the cache or from the network.
 *
 * @returns the real packages, which take no flags, or the stand-ins and their `--import-map`
 */
export async function findStandardLibrary(): Promise<StandardLibrary> {
  const { imports } = JSON.parse(await Deno.readTextFile(new URL("deno.json", PROJECT_ROOT)));
  const packages = Object.values<string>(imports).filter((target) => target.startsWith("jsr:"));
  const found = await new Deno.Command(Deno.execPath(), {
    args: ["cache", "--quiet", "--no-config", ...packages],
    signal: AbortSignal.timeout(PROBE_SECONDS * 1000),
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output();
  return found.success ? { description: "@std packages: JSR", flags: [] } : {
    description: `@std packages: JSR is out of reach, taking ${OFFLINE_IMPORT_MAP}`,
    flags: ["--import-map", OFFLINE_IMPORT_MAP],
  };
}

/**
 * Runs this very Deno in the project's directory, its streams being ours.
 *
 * @param args what would follow `deno` on a command line
 * @param env variables to set besides the ones there are
 * @returns the exit code
 */
export async function runDeno(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<number> {
  const status = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: PROJECT_ROOT,
    env,
    stdin: "null",
  }).spawn().status;
  return status.code;
}
