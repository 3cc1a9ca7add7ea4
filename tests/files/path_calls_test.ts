/**
 * How many calls to the system with a path below a served directory a request takes. A path is looked at before it is used and
 * once afterwards; more looks cost every request, and rule nothing out.
 */
import { obstacleTo } from "@degu/testing/commands.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { testUnless } from "@degu/testing/terminals.ts";
import { assert } from "@std/assert";

const TRACE = ["strace", "-f", "-qq", "-e", "trace=%file", "-o"];

/** Small files of a tree. */
const FILES = 100;

/** The most calls of a request with the path of the served directory's content. */
const REQUESTS: Record<string, number> = {
  "GET at the top": 8,
  "GET below three directories": 17,
  "PUT below three directories": 37,
  "PUT of a new file below three directories": 37,
  "DELETE below three directories": 17,
};

/** The most calls for each small file of a tree, with its path or that of the temporary file that gets its name. */
const MAX_CALLS_PER_FILE = 4;
const SMALL_FILE = /^\/many\/below\/\d+$|^\/below\/\.?[^/]*\d|^\/uploaded\/below\/\d+$|\/put-/;

const noStrace = await obstacleTo([...TRACE, "/dev/null", "true"]);

testUnless(
  noStrace && `calls to the system can't be traced (${noStrace})`,
  "a request takes few calls to the system with a path, and so does each small file of a tree at either end",
  async () => {
    await using dir = await tempDir();
    const path = await Deno.realPath(dir.path);
    const trace = `${path}/trace`;
    const args = [path, `${FILES}`];
    await runProgram("path_calls.ts", { flags: ["-A"], args, through: [...TRACE, trace] });
    const steps = callsOf(await Deno.readTextFile(trace), path);
    for (const [name, most] of Object.entries(REQUESTS)) {
      const { length } = steps.get(name)!.filter((at) => at.startsWith("/served/"));
      assert(length > 0 && length <= most, `${name}: ${length}`);
    }
    const ends = ["downloadTree /served", "downloadTree /downloaded", "uploadTree /served"];
    for (const name of [...ends, "uploadTree /local"]) {
      const [step = "", end = ""] = name.split(" ");
      const below = steps.get(step)!.filter((at) => at.startsWith(`${end}/`));
      const { length } = below.filter((at) => SMALL_FILE.test(at.slice(end.length)));
      assert(length >= FILES, `${name}: ${length}`);
      assert(length <= FILES * MAX_CALLS_PER_FILE, `${name}: ${length / FILES}`);
    }
  },
);

/** The first path below a directory of each traced call that has one, by steps. */
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
