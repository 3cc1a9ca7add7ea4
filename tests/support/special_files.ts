/**
 * File operations that the suite has no permission for, run in a process that has it: making links requires
 * access to everything, and no other process can see which files are open.
 *
 * @module
 */

import { assert } from "@std/assert";

/** Runs code in a Deno of its own that may do anything; returns what it printed. */
async function evaluate(code: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", code, ...args],
    stdin: "null",
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/** Makes symbolic links: to a target, by path. */
export async function makeLinks(links: Readonly<Record<string, string>>): Promise<void> {
  await evaluate(
    "for (const [path, target] of Object.entries(JSON.parse(Deno.args[0]))) Deno.symlinkSync(target, path);",
    JSON.stringify(links),
  );
}

/** Gives a link itself, and not what it leads to, to another user. */
export async function giveLinkAway(path: string, user: number): Promise<void> {
  await evaluate(
    `import { lchownSync } from "node:fs"; lchownSync(Deno.args[0], Number(Deno.args[1]), 0);`,
    path,
    String(user),
  );
}

/** Makes a FIFO; false where the program that does it is missing. */
export async function makeFifo(path: string): Promise<boolean> {
  const printed = await evaluate(
    `try {
      console.log(new Deno.Command("mkfifo", { args: [Deno.args[0]] }).outputSync().code);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      console.log("missing");
    }`,
    path,
  );
  assert(printed === "0\n" || printed === "missing\n", printed);
  return printed === "0\n";
}

/** Makes a file whose name is not UTF-8; false where the program that does it is missing. */
export async function makeNonUtf8Name(dir: string): Promise<boolean> {
  const code = `import os, sys; open(os.fsencode(sys.argv[1]) + b"/\\xff", "w")`;
  try {
    const args = ["-c", code, dir];
    const { success } = await new Deno.Command("python3", { args, stdin: "null" }).output();
    assert(success, `a name that is not UTF-8 in ${dir}`);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** The paths below a directory of the files that this process has open; on Linux. */
export async function openFilesBelow(dir: string): Promise<string[]> {
  const printed = await evaluate(
    `const [pid, dir] = Deno.args;
    const paths = [];
    for (const { name } of Deno.readDirSync("/proc/" + pid + "/fd")) {
      try {
        paths.push(Deno.readLinkSync("/proc/" + pid + "/fd/" + name));
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
    console.log(JSON.stringify(paths.filter((path) => path.startsWith(dir + "/"))));`,
    `${Deno.pid}`,
    dir,
  );
  return JSON.parse(printed);
}

/** A process that keeps exchanging something. */
export interface Exchanger extends AsyncDisposable {
  /** False once it has ended by itself. */
  readonly running: boolean;
}

/**
 * Puts, without end, a link to a target in the place of a directory, and the directory back; ends on dispose, with the directory in its
 * place.
 */
export async function startExchanging(directory: string, target: string): Promise<Exchanger> {
  const code = `
    const [directory, target] = Deno.args;
    let over = false;
    Deno.stdin.read(new Uint8Array(1)).then(() => over = true);
    console.log("started");
    while (!over) {
      for (let turn = 0; turn < 100; turn++) {
        Deno.renameSync(directory, directory + ".kept");
        Deno.symlinkSync(target, directory);
        Deno.removeSync(directory);
        Deno.renameSync(directory + ".kept", directory);
      }
      await new Promise((resolve) => setTimeout(resolve, 0));
    }`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", code, directory, target],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  let running = true;
  child.status.then(() => running = false);
  const reader = child.stdout.getReader();
  assert(!(await reader.read()).done, "the exchanging process did not start");
  return {
    get running() {
      return running;
    },
    async [Symbol.asyncDispose]() {
      await child.stdin.close();
      while (!(await reader.read()).done);
      await child.status;
    },
  };
}
