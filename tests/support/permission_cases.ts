/** Programs that run with exactly the given permissions, and without each of them. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { Client } from "@degu/degu/client";
import { Shown, spawnScript } from "./processes.ts";
import { within } from "./raw_peer.ts";

/** What Deno says of a permission that is missing; of the module of a worker it says no more than the second. */
const REFUSED = /NotCapable|Requires read access to ".*\/worker\/server_worker\.ts"/;

/** Processes at a time: each needs most of a core for as long as it starts. */
const AT_A_TIME = 3;

/** Seconds that a process may take on a busy machine. */
const PATIENCE = 60;

/** What every program begins with: `serve` makes a server, and closes it after one request of the test. */
const SERVE = `
async function serve(make) {
  const { promise: answered, resolve } = Promise.withResolvers();
  const server = make(() => { resolve(); return [200, "OK", {}, null]; });
  const serving = server.serveForever();
  await server.ready;
  const { address } = server;
  console.log(JSON.stringify({ address: address instanceof Uint8Array ? [...address] : address }));
  await answered;
  await server.shutdown();
  await serving;
}`;

/** What needs the same permissions. */
export interface Case {
  /** Without `--allow-`. */
  readonly permissions: readonly string[];
  /** Those that another case shows to be needed: each process takes its time. */
  readonly shown?: readonly string[];
  readonly imports: string;
  /** What is done, by its name: code that fails if one of the permissions is missing. */
  readonly parts: Readonly<Record<string, string>>;
  /** Makes a client of a server of the program, if it isn't a plain one. */
  readonly client?: ((address: Address) => Client) | undefined;
}

/** Makes flags of permissions: those of one kind become one list. */
export function flagsOf(permissions: readonly string[]): string[] {
  const lists = new Map<string, string[]>();
  for (const permission of permissions) {
    const [kind = "", value] = permission.split(/=(.*)/s);
    const list = lists.getOrInsert(kind, []);
    if (value !== undefined) list.push(value);
  }
  return [...lists].map(([kind, values]) =>
    `--allow-${kind}${values.length === 0 ? "" : `=${values.join(",")}`}`
  );
}

/** What each part has thrown, or `null`, in one run. */
type Outcomes = Map<string, string | null>;

/**
 * Runs the parts of a case with these permissions, and once more after the process has revoked one of them, because each
 * process takes its time.
 */
async function run(
  { imports, parts, client = (address) => new Client(address) }: Case,
  permissions: readonly string[],
  revoked?: string,
): Promise<Outcomes[]> {
  const script = `${imports}${SERVE}
const parts = {${Object.entries(parts).map(([name, code]) => `"${name}": async () => {${code}}`)}};
for (const descriptor of ${JSON.stringify([null, ...revoked ? [descriptorOf(revoked)] : []])}) {
  if (descriptor !== null) Deno.permissions.revokeSync(descriptor);
  const outcomes = [];
  for (const [name, part] of Object.entries(parts)) {
    outcomes.push([name, await part().then(() => null, (error) => Deno.inspect(error))]);
  }
  console.log(JSON.stringify({ outcomes }));
}`;
  await using child = await spawnScript(script, flagsOf(permissions), { NO_COLOR: "1" });
  const stderr = new Response(child.stderr).text();
  const runs: Outcomes[] = [];
  const reading = (async () => {
    for await (const line of Shown.from(child.stdout).lines()) {
      if (!line.startsWith("{")) continue;
      const { address, outcomes } = JSON.parse(line);
      if (outcomes !== undefined) runs.push(new Map(outcomes));
      // An abstract name is an array of bytes.
      const isName = typeof address?.[0] === "number";
      if (address) await client(isName ? Uint8Array.from(address) : address).request("GET", "/");
    }
  })();
  await within(reading, `the program ends: ${script}`, PATIENCE);
  assertEquals(runs.length, revoked === undefined ? 1 : 2, `${script}\n${await stderr}`);
  await stderr;
  return runs;
}

/** What `Deno.permissions` calls a permission. */
function descriptorOf(permission: string): object {
  const [name = "", value] = permission.split(/=(.*)/s);
  const key = name === "net" ? "host" : name === "sys" ? "kind" : "path";
  return value === undefined ? { name } : { name, [key]: value };
}

async function runCase(each: Case): Promise<void> {
  const { permissions, shown = [], parts } = each;
  const [first, ...others] = permissions.filter((permission) => !shown.includes(permission));
  const [whole, revoked] = await run(each, permissions, first);
  for (const name of Object.keys(parts)) {
    assertEquals(whole!.get(name), null, `${name} with ${flagsOf(permissions).join(" ")}`);
  }
  const check = (outcomes: Outcomes, left: string) => {
    for (const name of Object.keys(parts)) {
      const thrown = outcomes.get(name) ?? null;
      assert(thrown !== null, `${name} works without ${left}`);
      assertMatch(thrown, REFUSED, `${name} without ${left}`);
    }
  };
  if (first !== undefined) check(revoked!, first);
  for (const left of others) {
    const [outcomes] = await run(each, permissions.filter((permission) => permission !== left));
    check(outcomes!, left);
  }
}

/** Runs all cases, a few at a time, and fails with the first that failed. */
export async function runCases(cases: readonly Case[]): Promise<void> {
  const waiting = [...cases];
  const errors: unknown[] = [];
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      await runCase(next).catch((error) => errors.push(error));
    }
  }));
  if (errors.length > 0) throw errors[0];
}
