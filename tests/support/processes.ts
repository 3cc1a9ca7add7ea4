import { assert } from "@std/assert";
import { within } from "./raw_peer.ts";

/** Seconds that a program may take for a step: on a busy machine it is compiled first. */
const PATIENCE = 60;

/** What a process has printed so far. */
class Output {
  text = "";
  #isOver = false;
  #arrived = Promise.withResolvers<void>();
  /** Up to where it was waited for. */
  #seen = 0;
  readonly ended: Promise<void>;

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.ended = this.#read(stream);
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
      this.text += piece;
      this.#arrived.resolve();
      this.#arrived = Promise.withResolvers();
    }
    this.#isOver = true;
    this.#arrived.resolve();
  }

  async find(what: RegExp): Promise<string> {
    for (;;) {
      const match = what.exec(this.text.slice(this.#seen));
      if (match !== null) {
        this.#seen += match.index + match[0].length;
        return match[0];
      }
      if (this.#isOver) throw new Error(`the output ended without ${what}: ${this.text}`);
      await this.#arrived.promise;
    }
  }
}

/** A process with pipes, of which texts are waited for; disposing of it ends it. */
export class RunningProcess implements AsyncDisposable {
  readonly #stdout: Output;
  readonly #stderr: Output;

  constructor(readonly child: Deno.ChildProcess) {
    this.#stdout = new Output(child.stdout);
    this.#stderr = new Output(child.stderr);
  }

  /** Waits until it has printed this, behind what was waited for before; returns it. */
  printed(what: RegExp): Promise<string> {
    return within(this.#stdout.find(what), `${what}`, PATIENCE);
  }

  /** The same of its errors. */
  complained(what: RegExp): Promise<string> {
    return within(this.#stderr.find(what), `${what}`, PATIENCE);
  }

  /** Waits until it ends by itself. */
  async ended(
    patience: number = PATIENCE,
  ): Promise<{ success: boolean; stdout: string; stderr: string }> {
    const { success } = await within(this.child.status, "the process ends", patience);
    await Promise.all([this.#stdout.ended, this.#stderr.ended]);
    return { success, stdout: this.#stdout.text, stderr: this.#stderr.text };
  }

  /** Kills it, unless it has ended. */
  kill(): void {
    try {
      this.child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.child.status;
    await Promise.all([this.#stdout.ended, this.#stderr.ended]);
  }
}

/** Begins to run a module in a Deno of its own, with these flags. */
export async function spawnScript(
  script: string,
  flags: readonly string[],
  env: Record<string, string> = {},
): Promise<Deno.ChildProcess> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", "--no-lock", ...flags, "-"],
    cwd: new URL("../..", import.meta.url),
    env,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  return child;
}

/** Runs a module in a Deno of its own with these permissions and returns what it printed. */
export async function runScript(
  script: string,
  permissions: string[],
  env: Record<string, string>,
): Promise<string> {
  const running = new RunningProcess(await spawnScript(script, permissions, env));
  const { success, stdout, stderr } = await running.ended(600);
  assert(success, stderr);
  return stdout;
}
