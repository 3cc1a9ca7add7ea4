/** Processes whose output tests wait for, and the programs of tests/programs/. */

import { assert } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { makeDenoCommand, startCommand } from "./commands.ts";
import { withTimeout } from "./raw_peer.ts";

/** The text that a program has printed so far. */
export class ProgramOutput {
  text = "";
  /** The end of the last match of {@linkcode findNext}. */
  #matchEnd = 0;
  readonly #end = Promise.withResolvers<string>();
  #wake = Promise.withResolvers<void>();
  #hasEnded = false;

  static from(stream: ReadableStream<Uint8Array<ArrayBuffer>>): ProgramOutput {
    const output = new ProgramOutput();
    (async () => {
      for await (const piece of stream.pipeThrough(new TextDecoderStream())) output.add(piece);
      output.end();
    })();
    return output;
  }

  add(piece: string): void {
    this.text += piece;
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  end(): void {
    this.#hasEnded = true;
    this.#end.resolve(this.text);
    this.#wake.resolve();
  }

  /** Resolves to the whole text at its end. */
  get wholeText(): Promise<string> {
    return this.#end.promise;
  }

  /** Yields the lines as they arrive, without line ends. */
  async *readLines(): AsyncGenerator<string, void> {
    for (let lineStart = 0;;) {
      const lineEnd = this.text.indexOf("\n", lineStart);
      if (lineEnd >= 0) {
        yield this.text.slice(lineStart, lineEnd);
        lineStart = lineEnd + 1;
      } else if (this.#hasEnded) return;
      else await this.#wake.promise;
    }
  }

  /** Waits for a match of a pattern; rejects if the output ends without a match. */
  async find(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.text.slice(from));
      if (match !== null) return match;
      if (this.#hasEnded) throw new Error(`the output ended without ${pattern}: ${this.text}`);
      await this.#wake.promise;
    }
  }

  /** Waits for a match after the last match. */
  async findNext(pattern: RegExp): Promise<string> {
    const match = await this.find(pattern, this.#matchEnd);
    this.#matchEnd += match.index + match[0].length;
    return match[0];
  }
}

/** A process whose output can be waited for. Disposing of it kills the process. */
export class RunningProcess implements AsyncDisposable {
  readonly #stdout: ProgramOutput;
  readonly #stderr: ProgramOutput;

  constructor(readonly child: Deno.ChildProcess) {
    this.#stdout = ProgramOutput.from(child.stdout);
    this.#stderr = ProgramOutput.from(child.stderr);
  }

  /** Waits until the process has printed a match after the last match; returns the match. */
  waitForStdout(pattern: RegExp): Promise<string> {
    return withTimeout(this.#stdout.findNext(pattern), `${pattern}`);
  }

  waitForStderr(pattern: RegExp): Promise<string> {
    return withTimeout(this.#stderr.findNext(pattern), `${pattern}`);
  }

  async waitForEnd(
    timeoutSeconds?: number,
  ): Promise<{ success: boolean; stdout: string; stderr: string }> {
    const { success } = await withTimeout(this.child.status, "the process ends", timeoutSeconds);
    return { success, stdout: await this.#stdout.wholeText, stderr: await this.#stderr.wholeText };
  }

  kill(): void {
    try {
      this.child.kill("SIGKILL");
    } catch {
      // The process has ended.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.child.status;
    await Promise.all([this.#stdout.wholeText, this.#stderr.wholeText]);
  }
}

/**
 * Starts a program that prints a line when its work begins, and kills it at a random moment of one
 * of equal parts of the work's time.
 */
export async function killAtRandom(
  command: Deno.Command,
  maxMilliseconds: number,
  [part, partCount]: readonly [part: number, partCount: number],
) {
  await using program = new RunningProcess(command.spawn());
  await program.waitForStdout(/\n/);
  const delay = (part + Math.random()) / partCount * maxMilliseconds;
  const timer = setTimeout(() => program.kill(), delay);
  const result = await program.waitForEnd();
  clearTimeout(timer);
  return result;
}

/** Starts a module in a separate Deno with these flags. */
export async function spawnScript(
  script: string,
  flags: readonly string[],
  env: Record<string, string> = {},
): Promise<Deno.ChildProcess> {
  const cwd = new URL("../..", import.meta.url);
  const child = startCommand(makeDenoCommand(["--no-lock", ...flags], "-"), { cwd, env });
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  return child;
}

export async function runScript(
  script: string,
  permissions: string[],
  env: Record<string, string>,
): Promise<string> {
  const program = new RunningProcess(await spawnScript(script, permissions, env));
  const { success, stdout, stderr } = await program.waitForEnd(600);
  assert(success, stderr);
  return stdout;
}

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
