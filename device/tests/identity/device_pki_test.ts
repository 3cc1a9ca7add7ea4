/**
 * Files of a device's identity: created once and then loaded; missing, mismatched, or accessible to
 * other users.
 */
import { createDevicePki } from "@degu/device";
import { hasSubjectName, readCertificate } from "@degu/testing/certificates.ts";
import { createTempDir, listNames, readMode, readTexts } from "@degu/testing/directories.ts";
import { patch } from "@degu/testing/patching.ts";
import { RunningProcess, runScript, spawnScript } from "@degu/testing/processes.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { dirname, join } from "@degu/internal/files/disk/paths.ts";
import { createPrivateKey } from "node:crypto";

Deno.test("createDevicePki makes a certificate for both roles and its own authority", async () => {
  await using dir = await createTempDir();
  const device = await createDevicePki(dir.path, "camera-1.local");
  const [ca, cert] = [await readCertificate(device.caFile), await readCertificate(device.certFile)];
  assertEquals(ca.ca, true);
  assertEquals(cert.ca, false);
  assertEquals(cert.verify(ca.publicKey), true);
  assertEquals(cert.subject, "CN=camera-1.local");
  assertStringIncludes(ca.subject, "O=camera-1.local");
  assert(hasSubjectName(cert, "camera-1.local"));
  const key = createPrivateKey(await Deno.readTextFile(device.keyFile));
  assertEquals(cert.checkPrivateKey(key), true);
});

Deno.test("createDevicePki loads an existing identity without a change", async () => {
  await using dir = await createTempDir();
  const device = await createDevicePki(dir.path, "camera-1");
  const snapshotBefore = await readTexts(dirname(device.caFile));
  assertEquals(await createDevicePki(`${dir.path}/./x/../`, "camera-1"), device);
  assertEquals(await readTexts(dirname(device.caFile)), snapshotBefore);
  assert(Object.isFrozen(device));
  assertEquals(structuredClone(device), device);
});

Deno.test("createDevicePki makes directories of mode 0700 and files of mode 0600", async () => {
  await using dir = await createTempDir();
  const parent = join(dir.path, "var", "pki");
  const home = dirname((await createDevicePki(parent, "camera-1")).caFile);
  assertEquals(await listNames(parent), ["camera-1"]);
  for (const path of [parent, home]) assertEquals(await readMode(path), 0o700);
  const names = await listNames(home);
  assertEquals(names, ["ca.pem", "ca_key.pem", "cert.pem", "key.pem"]);
  for (const name of names) assertEquals(await readMode(join(home, name)), 0o600, name);
});

Deno.test("createDevicePki with create: false needs no permission to write, and doesn't write", async () => {
  await using dir = await createTempDir();
  const { caFile } = await createDevicePki(dir.path, "camera-1");
  const load = `
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../../mod.ts"))};
    const dir = ${JSON.stringify(dir.path)};
    console.log((await createDevicePki(dir, "camera-1", { create: false })).caFile);`;
  const readOnly = [`--allow-read=${dir.path}`, "--allow-sys=uid"];
  assertEquals(await runScript(load, readOnly, {}), `${caFile}\n`);
  const missing = join(dir.path, "no", "such");
  for (const [path, name] of [[dir.path, "camera-2"], [missing, "camera-1"]] as const) {
    const create = () => createDevicePki(path, name, { create: false });
    const problem = `There is no identity in ${path}`;
    const error = await assertRejects(create, Deno.errors.NotFound, problem);
    assertStringIncludes(error.message, "call createDevicePki without create: false once");
    assertEquals(await listNames(dir.path), ["camera-1"]);
  }
});

Deno.test("createDevicePki rejects with NotCapable without the permission to write, and creates nothing", async () => {
  await using dir = await createTempDir();
  const script = `
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../../mod.ts"))};
    const call = createDevicePki(${JSON.stringify(dir.path)}, "hub");
    console.log(await call.catch((error) => error instanceof Deno.errors.NotCapable));`;
  const permissions = [`--allow-read=${dir.path}`, "--allow-sys=uid"];
  assertEquals(await runScript(script, permissions, {}), "true\n");
  assertEquals(await listNames(dir.path), []);
});

Deno.test("processes that call createDevicePki at the same time agree, with access only to its directory", async () => {
  await using dir = await createTempDir();
  const script = `
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../../mod.ts"))};
    const create = () => createDevicePki(${JSON.stringify(dir.path)}, "hub");
    const [{ certFile, caFile, keyFile }] = await Promise.all([create(), create()]);
    const texts = await Promise.all([certFile, caFile, keyFile].map((path) => Deno.readTextFile(path)));
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(texts.join()));
    console.log(new Uint8Array(digest).toHex());`;
  const permissions = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`, "--allow-sys=uid"];
  const digests = await Promise.all([1, 2].map(() => runScript(script, permissions, {})));
  assertMatch(digests[0] ?? "", /^[0-9a-f]{64}\n$/);
  assertEquals(new Set(digests).size, 1);
  assertEquals(await listNames(dir.path), ["hub"]);
});

Deno.test("createDevicePki rejects a relative directory, an invalid name, and unknown options", async () => {
  await using dir = await createTempDir();
  const invalid: [dir: string, name: string, message: string][] = [
    ["", "camera-1", "dir: must be an absolute path"],
    ["pki", "camera-1", "dir: must be an absolute path"],
    [`${dir.path}/a\0b`, "camera-1", "dir: must be an absolute path"],
    [dir.path, "con", "not a name that Windows reserves"],
    [dir.path, `${"a".repeat(62)}.bc`, "of at most 64 characters"],
  ];
  const names = ["", "..", "../camera", "camera-1\n", "camera-1.", "a b", "a\0b", "Camera", "a_b"];
  for (const name of [...names, "127.0.0.1", "*.local", "KÜCHE"]) {
    invalid.push([dir.path, name, "name: must be a DNS name in lower case"]);
  }
  for (const [path, name, message] of invalid) {
    await assertRejects(() => createDevicePki(path, name), RangeError, message, name);
  }
  const invalidCalls: unknown[][] = [
    [dir.path, 1],
    [null, "camera-1"],
    [dir.path, "camera-1", { renewal: false }],
    [dir.path, "camera-1", false],
  ];
  for (const [index, values] of invalidCalls.entries()) {
    // A JavaScript program can pass values of any type.
    const call = createDevicePki as unknown as (...values: unknown[]) => Promise<unknown>;
    const words = ["name: ", "dir: "][index] ?? "";
    await assertRejects(() => call(...values), TypeError, words, Deno.inspect(values));
  }
  assertEquals(await listNames(dir.path), []);
});

Deno.test("createDevicePki rejects an identity with a missing file, and creates no new identity", async () => {
  await using dir = await createTempDir();
  const load = () => createDevicePki(dir.path, "camera-1");
  const home = dirname((await load()).caFile);
  for (const file of ["ca.pem", "ca_key.pem", "cert.pem", "key.pem"]) {
    const path = join(home, file);
    await Deno.rename(path, `${dir.path}/away`);
    const snapshotBefore = await readTexts(home);
    const message = `Missing ${path}: restore the directory from a backup`;
    await assertRejects(load, Deno.errors.NotFound, message);
    assertEquals(await readTexts(home), snapshotBefore);
    await Deno.rename(`${dir.path}/away`, path);
  }
});

Deno.test("createDevicePki rejects files that don't belong together, without quoting them", async () => {
  await using dir = await createTempDir();
  const otherHome = dirname((await createDevicePki(dir.path, "other")).caFile);
  const home = dirname((await createDevicePki(dir.path, "camera")).caFile);
  const damaged = (kind: string) => `-----BEGIN ${kind}-----\nc2VjcmV0\n-----END ${kind}-----\n`;
  const rows: [files: string[], content: string | null, message: string][] = [
    [["ca.pem"], null, "ca_key.pem does not belong to"],
    [["ca_key.pem"], null, "ca_key.pem does not belong to"],
    [["cert.pem"], null, "key.pem does not belong to"],
    [["key.pem"], null, "key.pem does not belong to"],
    [["ca.pem", "ca_key.pem"], null, "cert.pem does not belong to"],
    [["ca.pem"], "", "Cannot parse"],
    [["cert.pem"], damaged("CERTIFICATE"), "Cannot parse"],
    [["key.pem"], damaged("PRIVATE KEY"), "Cannot parse"],
    [["ca.pem", "ca_key.pem", "cert.pem", "key.pem"], null, "is not for camera"],
  ];
  for (const [files, content, message] of rows) {
    const textsBefore = await Promise.all(files.map((file) => Deno.readTextFile(join(home, file))));
    for (const file of files) {
      const text = content ?? await Deno.readTextFile(join(otherHome, file));
      await Deno.writeTextFile(join(home, file), text);
    }
    const load = () => createDevicePki(dir.path, "camera");
    const error = await assertRejects(load, Deno.errors.InvalidData, message);
    assert(!/BEGIN|c2VjcmV0|secret/.test(Deno.inspect(error)), files.join());
    for (const [index, file] of files.entries()) {
      await Deno.writeTextFile(join(home, file), textsBefore[index]!);
    }
  }
});

Deno.test("a createDevicePki that fails leaves no files, and rejects with the reason", async () => {
  await using dir = await createTempDir();
  using _full = patch(Deno, "rename", () => () => Promise.reject(new Error("the disk is full")));
  await assertRejects(() => createDevicePki(dir.path, "camera-1"), Error, "the disk is full");
  assertEquals(await listNames(dir.path), []);
});

Deno.test("a process that is killed while it creates an identity leaves no incomplete identity", async () => {
  await using dir = await createTempDir();
  const script = `
    import { createDevicePki } from "@degu/device";
    for (let i = 0;; i++) {
      console.log(i);
      await Promise.all(["a", "b", "c"].map((letter) =>
        createDevicePki(${JSON.stringify(dir.path)}, "camera-" + i + letter)));
    }`;
  await using running = new RunningProcess(await spawnScript(script, ["-A"]));
  await running.waitForStdout(/^1\n/m);
  running.kill();
  const { stdout } = await running.waitForEnd();
  const startedCount = Number(stdout.trim().split("\n").at(-1));

  const numbers = Array.from({ length: startedCount + 1 }, (_, i) => i);
  const names = numbers.flatMap((i) => ["a", "b", "c"].map((letter) => `camera-${i}${letter}`));
  for (const name of names) await createDevicePki(dir.path, name);
  const entryNames = (await listNames(dir.path)).filter((name) => !name.startsWith("."));
  assertEquals(entryNames, names.toSorted());
});
