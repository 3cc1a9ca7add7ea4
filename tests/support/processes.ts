import { assert } from "@std/assert";
import { makeDenoCommand, startCommand } from "./commands.ts";
import { withTimeout } from "./raw_peer.ts";

/** Seconds for a step of a program: on a busy machine it is compiled first. */
const PATIENCE = 60;

/** The text that a program has printed so far. */
export class ProgramOutput {
  text = "";
  /** The end of the last text that {@linkcode findNext} has found. */
  #seen = 0;
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

  /** The whole text, at its end. */
  get all(): Promise<string> {
    return this.#end.promise;
  }

  /** The lines as they come, without their ends. */
  async *lines(): AsyncGenerator<string, void> {
    for (let at = 0;;) {
      const end = this.text.indexOf("\n", at);
      if (end >= 0) {
        yield this.text.slice(at, end);
        at = end + 1;
      } else if (this.#hasEnded) return;
      else await this.#wake.promise;
    }
  }

  /** Waits for a match of a pattern; rejects if the output ends before. */
  async find(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.text.slice(from));
      if (match !== null) return match;
      if (this.#hasEnded) throw new Error(`the output ended without ${pattern}: ${this.text}`);
      await this.#wake.promise;
    }
  }

  /** Waits for a match behind the last one. */
  async findNext(pattern: RegExp): Promise<string> {
    const match = await this.find(pattern, this.#seen);
    this.#seen += match.index + match[0].length;
    return match[0];
  }
}

/** A process with pipes whose output can be waited for; disposing of it ends it. */
export class RunningProcess implements AsyncDisposable {
  readonly #stdout: ProgramOutput;
  readonly #stderr: ProgramOutput;

  constructor(readonly child: Deno.ChildProcess) {
    this.#stdout = ProgramOutput.from(child.stdout);
    this.#stderr = ProgramOutput.from(child.stderr);
  }

  /** Waits until the process has printed a match behind the last one; returns it. */
  waitForStdout(pattern: RegExp): Promise<string> {
    return withTimeout(this.#stdout.findNext(pattern), `${pattern}`, PATIENCE);
  }

  waitForStderr(pattern: RegExp): Promise<string> {
    return withTimeout(this.#stderr.findNext(pattern), `${pattern}`, PATIENCE);
  }

  async waitForEnd(
    patience: number = PATIENCE,
  ): Promise<{ success: boolean; stdout: string; stderr: string }> {
    const { success } = await withTimeout(this.child.status, "the process ends", patience);
    return { success, stdout: await this.#stdout.all, stderr: await this.#stderr.all };
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
    await Promise.all([this.#stdout.all, this.#stderr.all]);
  }
}

/** Divides so many kills among several loops that run at the same time. */
export async function runInLanes(
  lanes: number,
  kills: number,
  work: (kills: number) => Promise<void>,
): Promise<void> {
  const shares = Array.from({ length: lanes }, (_, i) => Math.floor((kills + i) / lanes));
  await Promise.all(shares.map(work));
}

/**
 * Starts a program that prints a line when it begins its work, and kills it later. Each of the
 * turns has a part of the work's time, and a random moment in it.
 */
export async function killAtRandom(
  command: Deno.Command,
  mostMilliseconds: number,
  [turn, turns]: readonly [turn: number, turns: number],
) {
  await using running = new RunningProcess(command.spawn());
  await running.waitForStdout(/\n/);
  const moment = (turn + Math.random()) / turns * mostMilliseconds;
  const timer = setTimeout(() => running.kill(), moment);
  const result = await running.waitForEnd();
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

/** Runs a module in a separate Deno with these permissions, and returns its output. */
export async function runScript(
  script: string,
  permissions: string[],
  env: Record<string, string>,
): Promise<string> {
  const running = new RunningProcess(await spawnScript(script, permissions, env));
  const { success, stdout, stderr } = await running.waitForEnd(600);
  assert(success, stderr);
  return stdout;
}
