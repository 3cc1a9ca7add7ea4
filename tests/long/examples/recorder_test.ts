/**
 * The recorder and the cameras of the examples: recordings are copied in spite of interruptions.
 */
import type { HostAddress } from "@degu/degu/base";
import { passOn, Relay } from "@degu/testing/cutting_relay.ts";
import { createTempDir, listNames, waitForFile } from "@degu/testing/directories.ts";
import { assertNeeded, pairExamples, runExample, startExample } from "../../examples/examples.ts";
import { findUnusedPort } from "@degu/testing/ports.ts";
import type { RunningProcess } from "@degu/testing/processes.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { runAgentInProcess } from "@degu/testing/agents.ts";

/** Creates the device of a program, as `degu init` does. */
async function initDevice(directory: string, name: string): Promise<void> {
  const { code, stderr } = await runAgentInProcess(["--home", directory, "init", "--name", name]);
  assertEquals(code, 0, stderr);
}

const RECORDER = "examples/recorder.ts";
const CAMERA = "examples/camera.ts";
const MEBIBYTE = 1024 * 1024;
const LARGE = 32 * MEBIBYTE;
const ARRIVED = /^moved .*$/m;

/** A relay that passes on the first bytes of an upload, and the others after `open` is called. */
class Gate extends Relay {
  static readonly #OPEN_BYTES = 4 * MEBIBYTE;
  readonly #gateOpened = Promise.withResolvers<void>();

  protected relay(camera: Deno.Conn, recorder: Deno.Conn): Promise<void>[] {
    let bytes = 0;
    const hold = ({ length }: Uint8Array) => {
      bytes += length;
      return bytes > Gate.#OPEN_BYTES ? this.#gateOpened.promise : undefined;
    };
    // Either side may be killed.
    return [passOn(camera, recorder, hold), passOn(recorder, camera, () => {})].map((passing) =>
      passing.catch(() => {}).finally(() => [camera, recorder].forEach((end) => this.close(end)))
    );
  }

  open(): void {
    this.#gateOpened.resolve();
  }
}

/** Makes directories for a recorder and two cameras, and functions that start them. */
async function makeLab() {
  const dir = await createTempDir();
  const port = `${await findUnusedPort()}`;
  const gates = new AsyncDisposableStack();
  const inOf = (name: string) => ({
    cwd: `${dir.path}/${name}`,
    audit: `${dir.path}/${name}-audit`,
  });
  for (const each of ["porch", "garden"]) {
    // The recorder would create the directory later, but the test reads it from the start.
    await Deno.mkdir(`${dir.path}/desk/recordings/${each}`, { recursive: true });
    await Deno.mkdir(`${dir.path}/${each}/outbox`, { recursive: true });
  }
  return {
    path: dir.path,
    [Symbol.asyncDispose]: async () => {
      await gates[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
    recordings: `${dir.path}/desk/recordings`,
    startRecorder: () => startExample(RECORDER, { ...inOf("desk"), args: ["127.0.0.1", port] }),
    /** Pairs a camera with the recorder, connects them through a gate, and starts the camera. */
    async startCamera(name: string) {
      const [desk, camera] = [`${dir.path}/desk`, inOf(name).cwd];
      await initDevice(`${camera}/camera-device`, "camera");
      const { success, stderr } = await runExample(CAMERA, { cwd: camera });
      assert(!success);
      assert(!stderr.includes("    at "), "an error with a stack");
      assertStringIncludes(stderr, '"degu --home DIRECTORY pair" adds one');
      const gate = gates.use(new Gate(["127.0.0.1", Number(port)]));
      const serving = [(gate.address as HostAddress).join(":")];
      await pairExamples(`${desk}/recorder-device`, `${camera}/camera-device`, name, serving);
      return Object.assign(await startExample(CAMERA, inOf(name)), { gate });
    },
    /** Creates a recording with an old time, renames it now, and returns its path. */
    async record(camera: string, name: string, bytes: number) {
      const directory = `${dir.path}/${camera}/recording`;
      await Deno.writeTextFile(directory, `${camera} ${name}`);
      await Deno.truncate(directory, bytes);
      const hourAgo = new Date(Date.now() - 3_600_000);
      await Deno.utime(directory, hourAgo, hourAgo);
      const file = `${dir.path}/${camera}/outbox/${name}`;
      await Deno.rename(directory, file);
      return file;
    },
    /** Ends a program like systemd, and checks that it needed all of its permissions. */
    async endProgram(program: RunningProcess, path: string, name: string) {
      program.child.kill("SIGTERM");
      const { success, stderr } = await program.waitForEnd();
      assert(success, stderr);
      const { audit, cwd } = inOf(name);
      await assertNeeded(path, audit, cwd);
    },
  };
}

Deno.test("no recording is lost if the recorder is killed during an upload and restarted, and uploads are resumed", async () => {
  await using lab = await makeLab();
  const recordings = `${lab.recordings}/porch`;
  const growing = await lab.record("garden", "large", LARGE);
  await lab.record("porch", "small", 1000);
  await using first = await lab.startRecorder();
  await first.waitForStdout(/^Recording/m);
  await using porch = await lab.startCamera("porch");
  await porch.waitForStdout(/^moved small: 1000 bytes, of which the recorder already had 0$/m);

  // Kill the recorder when a part of the large recording exists.
  await lab.record("porch", "large", LARGE);
  await withTimeout(
    waitForFile(recordings, (_name, size) => size >= MEBIBYTE),
    "a part is there",
    60,
  );
  first.kill();
  await first.child.status;
  porch.gate.open();
  assertEquals(
    await listNames(recordings),
    [".degu-files", "small"],
    "the large one is not complete",
  );

  // While the recorder is off, new recordings are made, and none is removed.
  await porch.waitForStderr(/next run in 1 s\n/);
  await lab.record("porch", "later", 3000);
  // The wait grows while each run fails.
  await porch.waitForStderr(/next run in 2 s\n/);
  assertEquals(await listNames(`${lab.path}/porch/outbox`), ["large", "later"]);

  // Restart the recorder, and pair it with another camera at the same time.
  await using second = await lab.startRecorder();
  await second.waitForStdout(/^Recording/m);
  await using garden = await lab.startCamera("garden");

  // A recording that grows during its upload is sent again.
  const ofGarden = `${lab.recordings}/garden`;
  await withTimeout(
    waitForFile(ofGarden, (_name, size) => size >= MEBIBYTE),
    "a part is there",
    60,
  );
  await Deno.writeTextFile(growing, "the end", { append: true });
  garden.gate.open();
  await garden.waitForStdout(new RegExp(`^moved large: ${LARGE + 7} bytes`, "m"));
  const arrived = [await porch.waitForStdout(ARRIVED), await porch.waitForStdout(ARRIVED)]
    .toSorted();
  const [, bytes, already] = /: (\d+) bytes, of which the recorder already had (\d+)/.exec(
    arrived[0]!,
  )!;
  assertEquals(bytes, `${LARGE}`);
  assert(Number(already) >= MEBIBYTE, `resumed from ${already}`);
  for (const [name, bytes] of [["large", LARGE], ["later", 3000], ["small", 1000]] as const) {
    const [content, text] = [await Deno.readFile(`${recordings}/${name}`), `porch ${name}`];
    assertEquals(content.length, bytes);
    assertEquals(new TextDecoder().decode(content.subarray(0, text.length)), text);
  }
  assertEquals(await listNames(ofGarden), [".degu-files", "large"]);

  await lab.endProgram(porch, CAMERA, "porch");
  await lab.endProgram(garden, CAMERA, "garden");
  await lab.endProgram(second, RECORDER, "desk");
  for (const name of ["porch", "garden"]) {
    assertEquals(await listNames(`${lab.path}/${name}/outbox`), [], "copied files are removed");
  }
});

Deno.test("a file that the recorder refuses stays in the outbox, and the others are copied", async () => {
  await using lab = await makeLab();
  const [acceptedNames, refusedNames] = ["good", "bad"].map((kind) =>
    [1, 2, 3, 4, 5, 6, 7, 8].map((n) => kind + n)
  );
  for (const [i, name] of refusedNames!.entries()) {
    // A directory with the name of a file causes a refusal.
    await Deno.mkdir(`${lab.recordings}/porch/${name}`);
    await lab.record("porch", name, 10);
    await lab.record("porch", acceptedNames![i]!, 10);
  }
  await using recorder = await lab.startRecorder();
  await recorder.waitForStdout(/^Recording/m);
  await using porch = await lab.startCamera("porch");
  for (const _ of acceptedNames!) await porch.waitForStdout(ARRIVED);
  await porch.waitForStderr(/^bad3 stays in outbox: .* a directory has this name/m);
  await porch.waitForStderr(
    /^TransferError: 8 entries could not be copied or deleted; the first: .*; next run in /m,
  );
  porch.child.kill("SIGTERM");
  assert((await porch.waitForEnd()).success);
  assertEquals(await listNames(`${lab.path}/porch/outbox`), refusedNames);
  assertEquals(await listNames(`${lab.recordings}/porch`), [
    ".degu-files",
    ...refusedNames!,
    ...acceptedNames!,
  ]);
});
