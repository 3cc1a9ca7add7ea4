/**
 * The way of some everyday actions through the code: the files, functions and calls of each action,
 * both ends together. A program does the action some times, and another program twice as often;
 * V8's counts of the second minus those of the first are the action, without one-time work.
 */

import { mustRun } from "../tests/support/commands.ts";
import { PROJECT_ROOT } from "./standard_library.ts";

/**
 * The actions, in the words of the table, and their numbers of times; `walks/scenarios.ts` has
 * them.
 */
const ACTIONS: Record<string, readonly [text: string, times: number]> = {
  get: ["a GET with a small response", 100],
  put: ["a PUT that is read as text", 100],
  connect: ["connecting to a device by name, and a request", 4],
  resume: ["an upload that is cut, and resumed", 1],
  sync: ["`degu sync` of one file (the whole program)", 1],
  forget: ["`forget` that ends a session in another process", 2],
};

/** The number of calls of each function in a process, by its place. */
type Calls = Map<string, number>;

interface Script {
  readonly url: string;
  readonly functions: readonly {
    readonly functionName: string;
    readonly ranges: readonly { startOffset: number; endOffset: number; count: number }[];
  }[];
}

console.log("| action | files | functions | calls |\n| --- | ---: | ---: | ---: |");
for (const [name, [text, times]] of Object.entries(ACTIONS)) {
  if (Deno.args.length > 0 && !Deno.args.includes(name)) continue;
  const [once, twice] = [await callsOf(name, times), await callsOf(name, 2 * times)];
  const more = [...twice].flatMap(([place, count]): [string, number][] => {
    const difference = Math.floor((count - (once.get(place) ?? 0)) / times);
    return difference > 0 ? [[place, difference]] : [];
  });
  const files = new Set(more.map(([place]) => place.split("#")[0]));
  const calls = more.reduce((sum, [, count]) => sum + count, 0);
  console.log(`| ${text} | ${files.size} | ${more.length} | ${calls} |`);
}

/**
 * Runs an action so many times in a process with coverage, and counts the calls of the library's
 * functions.
 */
async function callsOf(action: string, times: number): Promise<Calls> {
  const directory = await Deno.makeTempDir({ prefix: "degu_walks_" });
  try {
    const run = [Deno.execPath(), "run", "-A", "--no-check", "tools/walks/scenarios.ts"];
    const env = { DENO_COVERAGE_DIR: directory };
    await mustRun([...run, action, `${times}`], { cwd: PROJECT_ROOT, env });
    return await readCalls(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function readCalls(directory: string): Promise<Calls> {
  const calls: Calls = new Map();
  for await (const { name } of Deno.readDir(directory)) {
    if (!name.endsWith(".json")) continue;
    const { url, functions }: Script = JSON.parse(await Deno.readTextFile(`${directory}/${name}`));
    const path = url.startsWith(PROJECT_ROOT.href) ? url.slice(PROJECT_ROOT.href.length) : null;
    if (path === null || /^(tools|tests)\//.test(path)) continue;
    for (const { ranges: [range] } of functions) {
      // The first function is the module itself.
      if (range === undefined || range.startOffset === 0 || range.count === 0) continue;
      const place = `${path}#${range.startOffset}`;
      calls.set(place, (calls.get(place) ?? 0) + range.count);
    }
  }
  return calls;
}
