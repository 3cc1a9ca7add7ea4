/**
 * The source of the tests' `@std` packages: JSR if it can be reached, otherwise the stand-ins in
 * tests/support/offline. As a program it runs `deno` with its own arguments and these packages:
 * `tools/standard_library.ts check .`. In `--allow-run`, `deno` stands for the running executable.
 */

import { setTimeout as after } from "node:timers/promises";

/** If packets are dropped, nothing else shows that JSR is unreachable. */
const CONNECT_SECONDS = 2;
/** For all packages, from a JSR that is reachable but slow. */
const LOAD_SECONDS = 60;

const OFFLINE_IMPORT_MAP = "tests/support/offline/import_map.json";

/** The directory of deno.json, with a slash at the end. */
export const PROJECT_ROOT: URL = new URL("../", import.meta.url);

interface StandardLibrary {
  readonly description: string;
  /** The flags for `deno test`, `deno check` and `deno run`. */
  readonly flags: readonly string[];
}

/**
 * Determines whether every JSR package that deno.json maps is available, from the cache or the
 * network. Takes no time if the network reports JSR as unreachable, and two seconds if it reports
 * nothing; waits for a slow JSR.
 *
 * The variable `DEGU_STD` decides instead: `jsr` for the real packages, `offline` for the
 * stand-ins.
 *
 * @throws {Error} if `DEGU_STD` is `jsr` and JSR does not answer, or has an unknown value
 */
export async function findStandardLibrary(): Promise<StandardLibrary> {
  const env = Deno.env.toObject();
  const wanted = env["DEGU_STD"] ?? "";
  if (!["", "jsr", "offline"].includes(wanted)) {
    throw new Error(`DEGU_STD must be "jsr", "offline" or not set; got ${JSON.stringify(wanted)}`);
  }
  const obstacle = wanted === "offline" ? "DEGU_STD says so" : await whatKeepsUs(env);
  if (obstacle === null) return { description: "@std packages: JSR", flags: [] };
  if (wanted === "jsr") throw new Error(`DEGU_STD is "jsr", but ${obstacle}`);
  return {
    description: `@std packages: ${obstacle}, taking ${OFFLINE_IMPORT_MAP}`,
    flags: ["--import-map", OFFLINE_IMPORT_MAP],
  };
}

/**
 * Finds the packages, prints their source, and returns the flags; exits with a message if they are
 * unavailable.
 */
export async function chooseStandardLibrary(): Promise<readonly string[]> {
  try {
    const { description, flags } = await findStandardLibrary();
    console.log(description);
    return flags;
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}

/** Loads the packages into the cache; returns the reason if this fails, otherwise `null`. */
async function whatKeepsUs(env: Record<string, string>): Promise<string | null> {
  const { imports } = JSON.parse(await Deno.readTextFile(new URL("deno.json", PROJECT_ROOT)));
  const packages = Object.values<string>(imports).filter((target) => target.startsWith("jsr:"));
  const over = new AbortController();
  const loading = new Deno.Command(Deno.execPath(), {
    args: ["cache", "--quiet", "--no-config", ...packages],
    env,
    signal: over.signal,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output();
  const loaded = loading.then(({ success }) => success ? null : "JSR is out of reach");
  const bounds = [after(LOAD_SECONDS * 1000, `JSR did not answer within ${LOAD_SECONDS} s`, over)];
  // With a proxy, our own connections prove nothing: the proxy connects instead of us.
  const hasProxy = Object.keys(env).some((name) => /^(https?|all)_proxy$/i.test(name) && env[name]);
  if (!hasProxy) bounds.push(noConnection(env, over.signal));
  try {
    return await Promise.race([loaded, ...bounds]);
  } finally {
    over.abort();
    await loading;
  }
}

/** Resolves if no connection to JSR is made in time; Deno itself reports any other failure. */
async function noConnection(
  env: Record<string, string>,
  signal: AbortSignal,
): Promise<string> {
  const { protocol, hostname, port } = new URL(env["JSR_URL"] ?? "https://jsr.io/");
  const address = {
    hostname: hostname.replace(/^\[|\]$/g, ""),
    port: Number(port || (protocol === "http:" ? 80 : 443)),
  };
  const attempt = Deno.connect({ ...address, signal }).then((conn) => conn.close(), () => {});
  const never = new Promise<never>(() => {});
  const late = after(CONNECT_SECONDS * 1000, "JSR is out of reach", { signal });
  return await Promise.race([late, attempt]) ?? never;
}

/**
 * Runs the same Deno executable in the project's directory, with our standard streams, and by
 * another command if one is given; returns the exit code.
 */
export async function runDeno(
  args: readonly string[],
  by: readonly string[] = [],
): Promise<number> {
  const [program = "", ...all] = [...by, Deno.execPath(), ...args];
  const options: Deno.CommandOptions = { args: all, cwd: PROJECT_ROOT, stdin: "null" };
  return (await new Deno.Command(program, options).spawn().status).code;
}

if (import.meta.main) {
  const [command = "", ...args] = Deno.args.map((arg) =>
    arg === "--allow-run=deno" ? `--allow-run=${Deno.execPath()}` : arg
  );
  Deno.exit(await runDeno([command, ...await chooseStandardLibrary(), ...args]));
}
