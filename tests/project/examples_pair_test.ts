/** The two example programs that work together: they pair by a line, and one sends a file. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { tempDir } from "@degu/testing/directories.ts";
import { firstLineOf, flagsOf, ROOT } from "@degu/testing/example_programs.ts";
import { RunningProcess } from "@degu/testing/processes.ts";

const VIEWER = "examples/viewer.ts";
const CAMERA = "examples/camera.ts";

/** Starts a program in a directory, with this input and no more. */
async function start(path: string, cwd: string, flags: readonly string[], arg = "", input = "") {
  const program = fromFileUrl(new URL(path, ROOT));
  const args = ["run", "--quiet", "--no-prompt", ...flags, program, ...arg === "" ? [] : [arg]];
  const pipes = { stdin: "piped", stdout: "piped", stderr: "piped" } as const;
  const env = { NO_COLOR: "1" };
  const child = new Deno.Command(Deno.execPath(), { args, cwd, env, ...pipes }).spawn();
  // It may end without reading it.
  await new Blob([input]).stream().pipeTo(child.stdin).catch(() => {});
  return new RunningProcess(child);
}

async function run(...what: Parameters<typeof start>) {
  await using running = await start(...what);
  return await running.ended();
}

Deno.test("the viewer and the camera of the examples pair, and files arrive", async () => {
  await using dir = await tempDir();
  const [here, there] = [`${dir.path}/viewer`, `${dir.path}/camera`];
  for (const each of [here, there]) await Deno.mkdir(each);
  await Deno.writeTextFile(`${there}/night 1.txt`, "a fox");
  const flags = flagsOf(VIEWER, await firstLineOf(VIEWER));
  const cameraFlags = flagsOf(CAMERA, await firstLineOf(CAMERA));
  await using viewer = await start(VIEWER, here, flags, "127.0.0.1:0");
  const line = await viewer.printed(/^degu:\S+$/m);

  const send = (input: string, ...lacking: string[]) => {
    const granted = cameraFlags.filter((flag) => !lacking.includes(flag));
    return run(CAMERA, there, granted, "night 1.txt", input);
  };
  for (const flag of cameraFlags) {
    const { success } = await send(`${line}\n`, flag);
    assert(!success, `${CAMERA} runs without ${flag}, too`);
  }

  const first = await send(`${line}\n`);
  assert(first.success, first.stderr);
  assertMatch(first.stdout, /^Paired with viewer \([a-z2-7]{52}\)\.$/m);
  assertMatch(first.stdout, /^viewer has night 1\.txt: 5 bytes, SHA-256 [0-9a-f]{64}$/m);
  await viewer.printed(/^Paired with camera \([a-z2-7]{52}\)\.$/m);
  await viewer.printed(/"PUT \/night~201\.txt HTTP\/1\.1" 201 -$/m);
  assertEquals(await Deno.readTextFile(`${here}/inbox/night 1.txt`), "a fox");

  await Deno.writeTextFile(`${there}/night 1.txt`, "two foxes");
  const second = await send("");
  assert(second.success, second.stderr);
  assertMatch(second.stdout, /^viewer has night 1\.txt: 9 bytes/);
  assertEquals(await Deno.readTextFile(`${here}/inbox/night 1.txt`), "two foxes");
  viewer.child.kill("SIGTERM");
  assertEquals((await viewer.ended()).success, true);
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
    const { success } = await run(VIEWER, dir.path, granted, "0.0.0.0:0");
    assert(!success, `${VIEWER} runs with ${granted.join(" ")}, too`);
  }
});

Deno.test("the camera example prints its usage", async () => {
  await using dir = await tempDir();
  const { success, stderr } = await run(CAMERA, dir.path, []);
  assertEquals([success, stderr], [false, "Usage: camera.ts FILE\n"]);
});
