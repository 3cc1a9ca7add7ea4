/** Runs the programs in tests/programs, each in a separate process. */

import { assert } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { makeDenoCommand } from "./commands.ts";
import { RunningProcess } from "./processes.ts";

interface ProgramOptions {
  /** Flags of `deno run`, permissions among them. */
  readonly flags?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: Record<string, string>;
  /** The start of a command line that the command is appended to. */
  readonly through?: readonly string[];
}

/** Returns the flags for the same `@std` packages as in this process. */
export function importMapFlags(): string[] {
  const isStandIn = import.meta.resolve("@std/assert").startsWith("file:");
  return isStandIn ? [`--import-map=${import.meta.resolve("./offline/import_map.json")}`] : [];
}

/** Returns the flags for a script outside of the checkout, with the imports of the library. */
export function outsideScriptFlags(): string[] {
  const config = fromFileUrl(new URL("../../deno.json", import.meta.url));
  return [`--config=${config}`, ...importMapFlags()];
}

export function makeProgramCommand(
  name: string,
  { flags = [], args = [], env = {}, through = [] }: ProgramOptions,
  stdin: "null" | "piped" = "null",
): Deno.Command {
  const path = fromFileUrl(new URL(`../programs/${name}`, import.meta.url));
  const [program = "", ...commandArgs] = [...through, ...makeDenoCommand(flags, path, ...args)];
  return new Deno.Command(program, {
    args: commandArgs,
    env,
    stdin,
    stdout: "piped",
    stderr: "piped",
  });
}

/** Runs a program to its end and returns its output; fails the test unless the program succeeds. */
export async function runProgram(name: string, options: ProgramOptions = {}): Promise<string> {
  await using process = new RunningProcess(makeProgramCommand(name, options).spawn());
  const { success, stdout, stderr } = await process.waitForEnd();
  assert(success, `${name}: ${stderr}`);
  return stdout;
}
