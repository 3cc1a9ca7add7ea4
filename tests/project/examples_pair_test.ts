/** The two example programs that work together: they pair by a line, and one sends a file. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { tempDir } from "@degu/testing/directories.ts";
import { firstLineOf, flagsOf, ROOT } from "@degu/testing/example_programs.ts";
import { within } from "@degu/testing/raw_peer.ts";

const VIEWER = "examples/viewer.ts";
const CAMERA = "examples/camera.ts";
/** Seconds that a program may take to do something: it is compiled first. */
const PATIENCE = 20;

/** The command that runs a program in a directory. */
function commandOf(path: string, cwd: string, flags: readonly string[], args: readonly string[]) {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", ...flags, fromFileUrl(new URL(path, ROOT)), ...args],
    cwd,
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  });
}

/** Runs a program to its end, with this input. */
async function run(command: Deno.Command, input: string) {
  const child = command.spawn();
  const output = child.output();
  try {
    const writer = child.stdin.getWriter();
    // It may end without reading it.
    await writer.write(new TextEncoder().encode(input)).catch(() => {});
    await writer.close().catch(() => {});
    const { success, stdout, stderr } = await within(output, "the program ends", PATIENCE);
    const decoder = new TextDecoder();
    return { success, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } catch (error) {
    child.kill("SIGKILL");
    await output;
    throw error;
  }
}

/** A viewer that runs until it is disposed of. */
class Viewer implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #errors: Promise<string>;
  readonly #reader: ReadableStreamDefaultReader<string>;
  #output = "";

  constructor(command: Deno.Command) {
    this.#child = command.spawn();
    this.#errors = new Response(this.#child.stderr).text();
    this.#reader = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Waits until the output has this, and returns it. */
  async waitFor(what: RegExp): Promise<string> {
    for (;;) {
      const found = what.exec(this.#output)?.[0];
      if (found !== undefined) return found;
      const { done, value } = await within(this.#reader.read(), `${what}`, PATIENCE);
      if (done) throw new Error(`the viewer ended: ${this.#output}\n${await this.#errors}`);
      this.#output += value;
    }
  }

  /** Ends it as a service manager does; resolves to whether it succeeded. */
  async stop(): Promise<boolean> {
    this.#child.kill("SIGTERM");
    const { success } = await within(this.#child.status, "the viewer ends", PATIENCE);
    return success;
  }

  async [Symbol.asyncDispose]() {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#child.status;
    await this.#reader.cancel();
    await this.#child.stdin.close();
    await this.#errors;
  }
}

Deno.test("the viewer and the camera of the examples pair, and files arrive", async () => {
  await using dir = await tempDir();
  const [here, there] = [`${dir.path}/viewer`, `${dir.path}/camera`];
  for (const each of [here, there]) await Deno.mkdir(each);
  await Deno.writeTextFile(`${there}/night 1.txt`, "a fox");
  const flags = flagsOf(VIEWER, await firstLineOf(VIEWER));
  const cameraFlags = flagsOf(CAMERA, await firstLineOf(CAMERA));
  await using viewer = new Viewer(commandOf(VIEWER, here, flags, ["127.0.0.1:0"]));
  const line = await viewer.waitFor(/^degu:\S+$/m);

  const send = (input: string, ...lacking: string[]) => {
    const granted = cameraFlags.filter((flag) => !lacking.includes(flag));
    return run(commandOf(CAMERA, there, granted, ["night 1.txt"]), input);
  };
  for (const flag of cameraFlags) {
    const { success } = await send(`${line}\n`, flag);
    assert(!success, `${CAMERA} runs without ${flag}, too`);
  }

  const first = await send(`${line}\n`);
  assert(first.success, first.stderr);
  assertMatch(first.stdout, /^Paired with viewer \([a-z2-7]{52}\)\.$/m);
  assertMatch(first.stdout, /^viewer has night 1\.txt: 5 bytes, SHA-256 [0-9a-f]{64}$/m);
  await viewer.waitFor(/^Paired with camera \([a-z2-7]{52}\)\.$/m);
  await viewer.waitFor(/"PUT \/night~201\.txt HTTP\/1\.1" 201 -$/m);
  assertEquals(await Deno.readTextFile(`${here}/inbox/night 1.txt`), "a fox");

  await Deno.writeTextFile(`${there}/night 1.txt`, "two foxes");
  const second = await send("");
  assert(second.success, second.stderr);
  assertMatch(second.stdout, /^viewer has night 1\.txt: 9 bytes/);
  assertEquals(await Deno.readTextFile(`${here}/inbox/night 1.txt`), "two foxes");
  assertEquals(await viewer.stop(), true);
});

Deno.test("the viewer of the examples needs every permission that it names", async () => {
  const flags = flagsOf(VIEWER, await firstLineOf(VIEWER));
  const less = [
    ...flags.map((flag) => flags.filter((other) => other !== flag)),
    ...["uid", "networkInterfaces"].map((kind) =>
      flags.map((flag) => flag.startsWith("--allow-sys") ? `--allow-sys=${kind}` : flag)
    ),
  ];
  for (const granted of less) {
    await using dir = await tempDir();
    const { success } = await run(commandOf(VIEWER, dir.path, granted, ["0.0.0.0:0"]), "");
    assert(!success, `${VIEWER} runs with ${granted.join(" ")}, too`);
  }
});

Deno.test("the camera example prints its usage", async () => {
  await using dir = await tempDir();
  const { success, stderr } = await run(commandOf(CAMERA, dir.path, [], []), "");
  assertEquals([success, stderr], [false, "Usage: camera.ts FILE\n"]);
});
