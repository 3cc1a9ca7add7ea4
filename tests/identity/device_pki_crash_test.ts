/** What a crash of createDevicePki leaves behind. */
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { dirname, join } from "@std/path";
import { createDevicePki } from "@degu/degu/device";
import { plantTemporary, readOnly } from "@degu/testing/device_identities.ts";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { runScript } from "@degu/testing/processes.ts";

Deno.test("createDevicePki removes only what a crash left behind", async () => {
  await using dir = await tempDir();
  const home = dirname((await createDevicePki(dir.path, "camera-1")).caFile);
  const rows: [dir: string, name: string, hours: number, removed: boolean][] = [
    [dir.path, ".camera-1.0123456789abcdef", 1.1, true],
    [dir.path, ".camera-1.87e73d586fd5183", 2, true],
    [dir.path, ".camera-1.fedcba9876543210", -2, true], // the clock was ahead
    [dir.path, ".camera-1.abcdef0123456789", 0.9, false],
    [dir.path, ".camera-2.0123456789abcdef", 2, false],
    [dir.path, ".camera-1.local.0123456789abcdef", 2, false],
    [dir.path, ".camera-1.20261120163000", 2, false],
    [dir.path, ".camera-1.backup", 2, false],
    [dir.path, "camera-1.0123456789abcdef", 2, false],
    [home, "cert.pem.0123456789abcdef", 1.1, true],
    [home, "cert.pem.abcdef0123456789", 0.9, false],
    [home, "cert.pem.20261120", 2, false],
    [home, "key.pem.0123456789abcdef", 2, false],
  ];
  for (const [parent, name, hours] of rows) await plantTemporary(parent, name, hours);
  const { warnings } = await createDevicePki(dir.path, "camera-1");
  assertEquals(warnings, []);
  const left = [...await entries(dir.path), ...await entries(home)];
  for (const [, name, , removed] of rows) assertStrictEquals(left.includes(name), !removed, name);
});

Deno.test("createDevicePki ignores what a crash left behind if it may not write", async () => {
  await using dir = await tempDir();
  await createDevicePki(dir.path, "camera-1");
  await plantTemporary(dir.path, ".camera-1.0123456789abcdef", 2);
  const script = `
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../../device.ts"))};
    console.log((await createDevicePki(${JSON.stringify(dir.path)}, "camera-1")).warnings.length);`;
  assertStrictEquals(await runScript(script, readOnly(dir.path), {}), "0\n");
  assertEquals(await entries(dir.path), [".camera-1.0123456789abcdef", "camera-1"]);
});

Deno.test("a process that is killed midway leaves nothing permanent, and no incomplete identity", async () => {
  await using dir = await tempDir();
  const script = `
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../../device.ts"))};
    for (let i = 0;; i++) {
      console.log(i);
      await Promise.all(["a", "b", "c"].map((letter) =>
        createDevicePki(${JSON.stringify(dir.path)}, "camera-" + i + letter)));
    }`;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      "--quiet",
      "-A",
      `data:text/javascript,${encodeURIComponent(script)}`,
    ],
    stdout: "piped",
  }).spawn();
  let started = -1;
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    started = Math.max(started, ...text.trim().split("\n").map(Number));
    if (started < 3) continue;
    child.kill("SIGKILL");
    break;
  }
  await child.status;
  assert(started >= 3);

  const left = (await entries(dir.path)).filter((name) => name.startsWith("."));
  const old = new Date(Date.now() - 2 * 60 * 60 * 1000);
  for (const name of left) await Deno.utime(join(dir.path, name), old, old);
  const names = [];
  for (let i = 0; i <= started; i++) {
    names.push(...["a", "b", "c"].map((each) => `camera-${i}${each}`));
  }
  for (const name of names) await createDevicePki(dir.path, name);
  assertEquals(await entries(dir.path), names.toSorted());
});
