/** Work that is done in processes with exactly the permissions that a page names, and without each of them. */

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

/** What needs these permissions, which are without `--allow-`. */
export interface Work {
  readonly permissions: readonly string[];
}

/** A process, what it has to do in turn, and what it gives up before each. */
export interface Process<T extends Work> {
  readonly permissions: Set<string>;
  readonly revoked: Set<string>;
  readonly steps: {
    readonly work: T;
    /** The permission without which it must fail; if left out, it must work. */
    readonly missing?: string;
    readonly revoked: readonly string[];
  }[];
}

/** Each with exactly its permissions: where those of one are among those of another one, in one process. */
export function whole<T extends Work>(works: readonly T[]): Process<T>[] {
  const processes: Process<T>[] = [];
  const most = works.toSorted((a, b) => b.permissions.length - a.permissions.length);
  for (const work of most) {
    const left = ({ permissions, revoked }: Process<T>) => permissions.difference(revoked);
    const own = new Set(work.permissions);
    let process = processes.find((each) => own.isSubsetOf(left(each)));
    if (process === undefined) {
      process = { permissions: own, revoked: new Set(), steps: [] };
      processes.push(process);
    }
    const revoked = [...left(process).difference(own)];
    for (const each of revoked) process.revoked.add(each);
    process.steps.push({ work, revoked });
  }
  return processes;
}

/**
 * Each without one of its permissions: at the end of the process that has done it with all of them, or in one of the others as long
 * as all others are there, and none covers another one.
 */
export function lacking<T extends Work>(
  pairs: readonly { readonly work: T; readonly missing: string }[],
  done: readonly Process<T>[] = [],
): Process<T>[] {
  const processes: Process<T>[] = [];
  const covers = (a: string, b: string) => a !== b && (a.startsWith(b) || b.startsWith(a));
  for (const { work, missing } of pairs.toSorted((a, b) => a.missing < b.missing ? -1 : 1)) {
    const { permissions } = work;
    const suits = (each: Process<T>) =>
      !permissions.some((one) => one !== missing && each.revoked.has(one)) &&
      !permissions.some((one) => [...each.permissions].some((other) => covers(one, other)));
    let process = done.find((each) =>
      each.steps.some((step) => step.work === work) && suits(each)
    ) ??
      processes.find(suits);
    if (process === undefined) {
      process = { permissions: new Set(), revoked: new Set(), steps: [] };
      processes.push(process);
    }
    for (const each of permissions) process.permissions.add(each);
    process.revoked.add(missing);
    process.steps.push({ work, missing, revoked: [missing] });
  }
  return processes;
}

/** Runs processes, a few at a time, and fails with the first that failed. */
export async function runAll<T extends Work>(
  processes: readonly Process<T>[],
  run: (process: Process<T>) => Promise<void>,
): Promise<void> {
  const waiting = processes.values();
  const errors: unknown[] = [];
  await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
    for (const next of waiting) await run(next).catch((error) => errors.push(error));
  }));
  if (errors.length > 0) throw errors[0];
}

/** Makes flags of permissions: those of one kind become one list. */
export function flagsOf(permissions: Iterable<string>): string[] {
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

const VALUES = { read: "path", write: "path", net: "host", sys: "kind", env: "variable" };

/** What `Deno.permissions` calls a permission. */
export function descriptorOf(permission: string): Deno.PermissionDescriptor {
  const [name = "", value] = permission.split(/=(.*)/s);
  const key = VALUES[name as keyof typeof VALUES];
  return (value === undefined ? { name } : { name, [key]: value }) as Deno.PermissionDescriptor;
}

/** The smallest module that exports a name: a process takes longer, the more it loads. */
const MODULES = new Map<string, string>();
for (const module of ["mod", "misc", "pool", "device", "files", "server", "client"]) {
  for (const name of Object.keys(await import(`../../${module}.ts`))) MODULES.set(name, module);
}

/** Imports the public names that a program has. */
function importsOf(program: string): string {
  const names = new Set(program.match(/\w+/g));
  return MODULES.entries().filter(([name]) => names.has(name))
    .map(([name, module]) => `import { ${name} } from "./${module}.ts";\n`).toArray().join("");
}

/** What every program begins with: `serve` makes a server, and closes it after one request of the test. */
const BEGINNING = `
const app = () => [200, "OK", {}, null];
async function check(answering) {
  const [status] = [await answering].flat();
  if ((status.status ?? status) >= 400) throw new Error(status);
}
async function serve(make) {
  const { promise: answered, resolve } = Promise.withResolvers();
  const server = make(() => { resolve(); return app(); });
  const serving = server.serveForever();
  await server.ready;
  const { address } = server;
  console.log(JSON.stringify({ address: address instanceof Uint8Array ? [...address] : address }));
  await answered;
  await server.shutdown();
  await serving;
}`;

/** What needs the same permissions. */
export interface Case extends Work {
  /** Those that another case shows to be needed: each process takes its time. */
  readonly shown?: readonly string[];
  /** What is done, by its name: code that fails if one of the permissions is missing. */
  readonly parts: Readonly<Record<string, string>>;
  /** Makes a client of a server of the program, if it isn't a plain one. */
  readonly client?: ((address: Address) => Client) | undefined;
}

/** Runs all cases with exactly their permissions, and without each of them. */
export async function runCases(cases: readonly Case[]): Promise<void> {
  const pairs = cases.flatMap((work) => {
    const { permissions, shown = [] } = work;
    return permissions.filter((each) => !shown.includes(each)).map((missing) => ({
      work,
      missing,
    }));
  });
  const processes = whole(cases);
  const more = lacking(pairs, processes);
  await runAll(processes, runProcess);
  await runAll(more, runProcess);
}

async function runProcess({ permissions, steps }: Process<Case>): Promise<void> {
  const codes = steps.map(({ work, revoked }) => `
for (const descriptor of ${JSON.stringify(revoked.map(descriptorOf))}) {
  Deno.permissions.revokeSync(descriptor);
}
outcomes = [];
${
    Object.values(work.parts).map((code) => `
outcomes.push(await (async () => {${code}})().then(() => null, (error) => Deno.inspect(error)));`)
      .join("")
  }
console.log(JSON.stringify({ outcomes }));`);
  const program = `${BEGINNING}\nlet outcomes;${codes.join("")}`;
  const script = importsOf(program) + program;
  await using child = await spawnScript(script, flagsOf(permissions), { NO_COLOR: "1" });
  const stderr = new Response(child.stderr).text();
  /** What each part has thrown, or `null`. */
  const thrown: (string | null)[][] = [];
  const reading = (async () => {
    for await (const line of Shown.from(child.stdout).lines()) {
      if (!line.startsWith("{")) continue;
      const { address, outcomes } = JSON.parse(line);
      if (outcomes !== undefined) thrown.push(outcomes);
      if (address === undefined) continue;
      const { client = (to) => new Client(to) } = steps[thrown.length]!.work;
      // An abstract name is an array of bytes.
      const isName = typeof address[0] === "number";
      await client(isName ? Uint8Array.from(address) : address).request("GET", "/");
    }
  })();
  await within(reading, `the program ends: ${script}`, PATIENCE);
  assertEquals(thrown.length, steps.length, `${script}\n${await stderr}`);
  for (const [i, { work, missing }] of steps.entries()) {
    for (const [j, name] of Object.keys(work.parts).entries()) {
      const error = thrown[i]![j]!;
      if (missing === undefined) {
        assertEquals(error, null, `${name} with ${flagsOf(work.permissions).join(" ")}`);
      } else {
        assert(error !== null, `${name} works without ${missing}`);
        assertMatch(error, REFUSED, `${name} without ${missing}`);
      }
    }
  }
}
