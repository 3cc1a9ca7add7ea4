/**
 * The source of the tests' `@std` packages: JSR if it is reachable, otherwise the stand-ins in
 * tests/support/offline. As a program, this module runs `deno` with its arguments and these
 * packages: `tools/standard_library.ts check .`. In `--allow-run`, it replaces `deno` by the path
 * of the running executable.
 */

import { setTimeout as delay } from "node:timers/promises";

/** The time-out of a connection, for networks that drop packets. */
const CONNECT_SECONDS = 2;
const LOAD_SECONDS = 60;

/** An import map with every import of the workspace, so that JSR is not needed. */
export const OFFLINE_IMPORT_MAP = "tests/support/offline/import_map.json";

/** The directory of deno.json, with a slash at the end. */
export const PROJECT_ROOT: URL = new URL("../", import.meta.url);

/**
 * Determines whether every JSR package in deno.json is available, from the cache or the network.
 * Returns at once if the network reports that JSR is unreachable, and after two seconds without a
 * connection. Otherwise waits for JSR. `flags` are for `deno test`, `deno check` and `deno run`.
 *
 * The variable `DEGU_STD` overrides this: `jsr` for the real packages, `offline` for the stand-ins.
 *
 * @throws {Error} if `DEGU_STD` is `jsr` and JSR is unreachable, or if it has an unknown value.
 */
export async function findStandardLibrary(): Promise<
  { readonly description: string; readonly flags: readonly string[] }
> {
  const env = Deno.env.toObject();
  const choice = env["DEGU_STD"] ?? "";
  if (!["", "jsr", "offline"].includes(choice)) {
    throw new Error(`DEGU_STD must be "jsr", "offline" or not set; got ${JSON.stringify(choice)}`);
  }
  const reason = choice === "offline" ? "DEGU_STD is offline" : await findUnreachableReason(env);
  if (reason === null) return { description: "@std packages: JSR", flags: [] };
  if (choice === "jsr") throw new Error(`DEGU_STD is "jsr", but ${reason}`);
  return {
    description: `@std packages: ${reason}, using ${OFFLINE_IMPORT_MAP}`,
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

async function findUnreachableReason(env: Record<string, string>): Promise<string | null> {
  const { imports } = JSON.parse(await Deno.readTextFile(new URL("deno.json", PROJECT_ROOT)));
  const packages = Object.values<string>(imports).filter((target) => target.startsWith("jsr:"));
  const abortController = new AbortController();
  const cacheCommand = new Deno.Command(Deno.execPath(), {
    args: ["cache", "--quiet", "--no-config", ...packages],
    env,
    signal: abortController.signal,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output();
  const cacheFailure = cacheCommand.then(({ success }) => success ? null : "JSR is unreachable");
  const timeouts = [
    delay(LOAD_SECONDS * 1000, `JSR did not respond within ${LOAD_SECONDS} s`, abortController),
  ];
  // With a proxy, a direct connection doesn't show whether JSR is reachable.
  const hasProxy = Object.keys(env).some((name) => /^(https?|all)_proxy$/i.test(name) && env[name]);
  if (!hasProxy) timeouts.push(waitForConnectTimeout(env, abortController.signal));
  try {
    return await Promise.race([cacheFailure, ...timeouts]);
  } finally {
    abortController.abort();
    await cacheCommand;
  }
}

async function waitForConnectTimeout(
  env: Record<string, string>,
  signal: AbortSignal,
): Promise<string> {
  const { protocol, hostname, port } = new URL(env["JSR_URL"] ?? "https://jsr.io/");
  const address = {
    hostname: hostname.replace(/^\[|\]$/g, ""),
    port: Number(port || (protocol === "http:" ? 80 : 443)),
  };
  const connected = Deno.connect({ ...address, signal }).then((conn) => conn.close(), () => {});
  const never = new Promise<never>(() => {});
  const timeout = delay(CONNECT_SECONDS * 1000, "JSR is unreachable", { signal });
  return await Promise.race([timeout, connected]) ?? never;
}

/**
 * Runs the same Deno executable in the project's directory. The program has no stdin, and writes to
 * stdout and stderr of this process. Returns the exit code.
 *
 * @param wrapper A command whose last arguments are the executable and its arguments.
 */
export async function runDeno(
  args: readonly string[],
  wrapper: readonly string[] = [],
): Promise<number> {
  const [program = "", ...programArgs] = [...wrapper, Deno.execPath(), ...args];
  const options: Deno.CommandOptions = { args: programArgs, cwd: PROJECT_ROOT, stdin: "null" };
  return (await new Deno.Command(program, options).spawn().status).code;
}

if (import.meta.main) {
  const [command = "", ...args] = Deno.args.map((arg) =>
    arg.replace(/^--allow-run=deno\b/, `--allow-run=${Deno.execPath()}`)
  );
  Deno.exit(await runDeno([command, ...await chooseStandardLibrary(), ...args]));
}
