/**
 * Runs `transfer.ts`, and stops for good at a step of the putting aside of something: each change of
 * a directory is a step, from the first to the last at which something lies aside in it. Prints
 * "stopped" then, so that the process is killed; the arguments are the directory, the number of the
 * step, and those of `transfer.ts`.
 */

import { ASIDE } from "@degu/internal/files/reserved.ts";

const [directory = "", step = "", ...rest] = Deno.args;
const { readDirSync } = Deno;
let before = "";
let steps = 0;

/** All that there is below a directory. */
function see(path: string): string[] {
  return [...readDirSync(path)].flatMap(({ name, isDirectory, isFile }) => [
    `${path}/${name} ${isDirectory} ${isFile}`,
    ...isDirectory ? see(`${path}/${name}`) : [],
  ]);
}

function look(): void {
  const now = see(directory).toSorted().join("\n");
  if (now === before) return;
  before = now;
  if (!now.includes(ASIDE) || steps++ < Number(step)) return;
  Deno.stdout.writeSync(new TextEncoder().encode("stopped\n"));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

const names = ["lstatSync", "mkdirSync", "readDirSync", "realPathSync", "removeSync", "renameSync"];
const deno = Deno as unknown as Record<string, (...args: unknown[]) => unknown>;
for (const name of names) {
  const original = deno[name]!;
  deno[name] = (...args) => {
    look();
    return original(...args);
  };
}

// The arguments of the other program.
Object.defineProperty(Deno, "args", { value: rest });
await import("./transfer.ts");
