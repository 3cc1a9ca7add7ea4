/**
 * Counts the system calls with a path below the served directory in each request. A path is checked
 * before and after its use; further checks would slow down each request, and detect nothing more.
 */
import { findObstacle } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { runProgram } from "@degu/testing/processes.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";
import { assert } from "@std/assert";

const TRACE = ["strace", "-f", "-qq", "-e", "trace=%file", "-o"];

/** The number of small files of a tree. */
const FILES = 100;

/** The maximal number of calls of a request with a path in the served directory. */
const REQUESTS: Record<string, number> = {
  "GET at the top": 6,
  "GET below three directories": 9,
  "PUT below three directories": 20,
  "PUT of a new file below three directories": 17,
  "PUT below three new directories": 13,
  "DELETE below three directories": 10,
  // Don't open it: opening a device can have effects.
  "a bundle with a pipe": 5,
};

/**
 * The maximal number of calls for each small file of a tree at one end, with its path or the path
 * of a parent directory.
 */
const TREES: Record<string, number> = {
  "downloadTree /served": 4.5,
  // At a target, one call reads the stored time: `stat` of an open file takes twice the time.
  "downloadTree /downloaded": 6.5,
  "uploadTree /served": 5.5,
  "uploadTree /local": 6.5,
};

/** The number of nested directories, each with a file. */
const LEVELS = 240;

/**
 * The maximal number of calls for each nested directory and its file. A check of each parent
 * directory would need 120 more.
 */
const DEEP: Record<string, number> = {
  "uploadTree, deep /served": 20,
  "uploadTree, deep /local": 12,
  "downloadTree, deep /served": 11,
  "downloadTree, deep /downloaded": 20,
};

const noStrace = await findObstacle([...TRACE, "/dev/null", "true"]);

Deno.test(
  "a request needs few system calls with a path, and so does each small file of a tree at either end",
  ignoreIf(noStrace && `calls to the system can't be traced (${noStrace})`),
  async () => {
    await using dir = await createTempDir();
    const path = await Deno.realPath(dir.path);
    const trace = `${path}/trace`;
    const args = [path, `${FILES}`, `${LEVELS}`];
    await runProgram("path_calls.ts", { flags: ["-A"], args, through: [...TRACE, trace] });
    const steps = callsOf(await Deno.readTextFile(trace), path);
    for (const [name, maxCalls] of Object.entries(REQUESTS)) {
      const { length } = steps.get(name)!.filter((callPath) => callPath.startsWith("/served/"));
      assert(length > 0 && length <= maxCalls, `${name}: ${length}`);
    }
    for (const [name, maxCalls] of Object.entries(TREES)) {
      const [step = "", end = ""] = name.split(" ");
      const { length } = steps.get(step)!.filter((callPath) => callPath.startsWith(`${end}/`));
      assert(length >= FILES && length <= FILES * maxCalls, `${name}: ${length / FILES}`);
    }
    for (const [name, maxCalls] of Object.entries(DEEP)) {
      const [, step = "", end = ""] = /^(.*) (\S+)$/.exec(name)!;
      const { length } = steps.get(step)!.filter((callPath) => callPath.startsWith(`${end}/`));
      assert(length >= LEVELS && length <= LEVELS * maxCalls, `${name}: ${length / LEVELS}`);
    }
  },
);

/** Returns the first path below a directory of each traced call, by step. */
function callsOf(trace: string, directory: string): Map<string, string[]> {
  const steps = new Map<string, string[]>();
  let calls: string[] = [];
  for (const line of trace.split("\n")) {
    const quoted = [...line.matchAll(/"([^"]*)"/g)].map(([, path]) => path!);
    const path = quoted.find((path) => path.startsWith(`${directory}/`))?.slice(directory.length);
    const [, step] = /^\/step (.*)$/.exec(path ?? "") ?? [];
    if (step !== undefined) steps.set(step, calls = []);
    else if (path !== undefined) calls.push(path);
  }
  return steps;
}
