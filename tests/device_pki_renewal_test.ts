/** A device's identity as time goes by: renewals, wrong clocks, disks that can't be written, crashes. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { createPrivateKey } from "node:crypto";
import { dirname, join } from "node:path";
import { createAuthority, createLeaf, renewLeaf } from "../misc/certificates.ts";
import { createDevicePki } from "../misc/pki.ts";
import { assertNear, covers, readCertificate } from "./support/certificates.ts";
import { entries, snapshot, tempDir } from "./support/directories.ts";
import { runScript } from "./support/processes.ts";

const DAY = 24 * 60 * 60 * 1000;

Deno.test("createDevicePki renews a certificate that expires within 30 days, for the same key", async (t) => {
  const cases: [days: number, renewed: boolean][] = [[-1, true], [0, true], [29, true], [
    31,
    false,
  ]];
  for (const [days, renewed] of cases) {
    await t.step(`${days} days left: ${renewed ? "renewed" : "kept"}`, async () => {
      await using dir = await tempDir();
      const { caFile, certFile, keyFile } = await createDevicePki(dir.path, "camera-1");
      await reissue({ caFile, certFile }, days);
      const before = await snapshot(dirname(certFile));
      const results = await Promise.all([1, 2, 3].map(() => createDevicePki(dir.path, "camera-1")));

      const expected = Date.now() + (renewed ? 365 : days) * DAY;
      for (const { validTo } of results) assertNear(validTo.getTime(), expected);
      const after = await snapshot(dirname(certFile));
      assertStrictEquals(after["cert.pem"] === before["cert.pem"], !renewed);
      assertEquals({ ...after, "cert.pem": "" }, { ...before, "cert.pem": "" });
      const cert = await readCertificate(certFile);
      assertStrictEquals(cert.verify((await readCertificate(caFile)).publicKey), true);
      assertStrictEquals(
        cert.checkPrivateKey(createPrivateKey(await Deno.readTextFile(keyFile))),
        true,
      );
      assert(covers(cert, "camera-1"));
    });
  }
});

Deno.test("createDevicePki keeps a certificate that lives as long as its authority", async () => {
  await using dir = await tempDir();
  const device = await createDevicePki(dir.path, "camera-1");
  await replaceIdentity(dirname(device.caFile), 10);
  const first = await createDevicePki(dir.path, "camera-1");
  assertNear(first.validTo.getTime(), Date.now() + 10 * DAY);
  const before = await snapshot(dirname(device.caFile));
  assertEquals(await createDevicePki(dir.path, "camera-1"), first);
  assertEquals(await snapshot(dirname(device.caFile)), before);
});

Deno.test("createDevicePki rejects an authority that has expired", async () => {
  await using dir = await tempDir();
  const device = await createDevicePki(dir.path, "camera-1");
  await replaceIdentity(dirname(device.caFile), -0.5);
  await assertRejects(
    () => createDevicePki(dir.path, "camera-1"),
    Deno.errors.InvalidData,
    "ca.pem has expired on",
  );
});

Deno.test("createDevicePki renews a certificate that was made while the clock was ahead", async () => {
  await using dir = await tempDir();
  const device = await createDevicePki(dir.path, "camera-1");
  await whileClockIsAhead(3, () => reissue(device, 365));
  const before = await snapshot(dirname(device.certFile));
  assert(Date.parse((await readCertificate(device.certFile)).validFrom) > Date.now() + DAY);

  const { validTo, warnings } = await createDevicePki(dir.path, "camera-1");
  assertNear(validTo.getTime(), Date.now() + 365 * DAY);
  assertEquals(warnings, []);
  const cert = await readCertificate(device.certFile);
  assertNear(Date.parse(cert.validFrom), Date.now() - DAY);
  const after = await snapshot(dirname(device.certFile));
  assertEquals({ ...after, "cert.pem": "" }, { ...before, "cert.pem": "" });
});

Deno.test("createDevicePki rejects an authority that is not valid yet", async () => {
  await using dir = await tempDir();
  const { caFile } = await whileClockIsAhead(3, () => createDevicePki(dir.path, "camera-1"));
  const before = await snapshot(dirname(caFile));
  const error = await assertRejects(
    () => createDevicePki(dir.path, "camera-1"),
    Deno.errors.InvalidData,
    `The authority in ${caFile} is not valid before`,
  );
  assertMatch(error.message, /correct the clock.*pair the device again/);
  assertEquals(await snapshot(dirname(caFile)), before);
  await whileClockIsAhead(3, () => createDevicePki(dir.path, "camera-1"));
});

Deno.test("createDevicePki returns a valid certificate that it may not renew, and says so", async (t) => {
  await using dir = await tempDir();
  const device = await createDevicePki(dir.path, "camera-1");
  const script = `
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../misc/pki.ts"))};
    const { validTo, warnings } = await createDevicePki(${JSON.stringify(dir.path)}, "camera-1")
      .catch((error) => ({ validTo: null, warnings: [error.name, error.message] }));
    console.log(JSON.stringify({ validTo, warnings }));`;
  const load = async () => JSON.parse(await runScript(script, readOnly(dir.path), {}));

  await t.step("31 days left: not due", async () => {
    await reissue(device, 31);
    assertEquals((await load()).warnings, []);
  });
  await t.step("29 days left: a warning", async () => {
    await reissue(device, 29);
    const before = await snapshot(dirname(device.certFile));
    const { validTo, warnings } = await load();
    assertNear(Date.parse(validTo), Date.now() + 29 * DAY);
    assertStrictEquals(warnings.length, 1);
    assertStringIncludes(
      warnings[0],
      `The certificate in ${device.certFile} expires on ${validTo}`,
    );
    assertStringIncludes(warnings[0], "could not be renewed: Requires write access");
    assertEquals(await snapshot(dirname(device.certFile)), before);
  });
  await t.step("expired: an error", async () => {
    await reissue(device, -0.5);
    const { validTo, warnings: [name, message] } = await load();
    assertStrictEquals(validTo, null);
    assertStrictEquals(name, "InvalidData");
    assertMatch(message, /cert\.pem has expired on .* could not be renewed: Requires write access/);
  });
  await t.step("not valid yet: an error", async () => {
    await whileClockIsAhead(3, () => reissue(device, 365));
    const { warnings: [name, message] } = await load();
    assertStrictEquals(name, "InvalidData");
    assertMatch(message, /cert\.pem is valid from .* could not be renewed: Requires write access/);
  });
});

Deno.test({
  name: "createDevicePki returns a valid certificate on a read-only file system, and says so",
  ignore: !await canMount(),
  async fn() {
    await using dir = await tempDir();
    const device = await createDevicePki(dir.path, "camera-1");
    await reissue(device, 29);
    await plantTemporary(dir.path, ".camera-1.0123456789abcdef", 2);
    const script = `
      import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../misc/pki.ts"))};
      const { validTo, warnings } = await createDevicePki(${JSON.stringify(dir.path)}, "camera-1");
      console.log(JSON.stringify({ validTo, warnings }));`;
    const mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"';
    const module = `data:text/javascript,${encodeURIComponent(script)}`;
    const permissions = [...readOnly(dir.path), `--allow-write=${dir.path}`];
    const program = [Deno.execPath(), "run", "--no-prompt", "--quiet", ...permissions, module];
    const { success, stdout, stderr } = await new Deno.Command("unshare", {
      args: ["-rm", "sh", "-c", mount, dir.path, ...program],
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    const { validTo, warnings } = JSON.parse(new TextDecoder().decode(stdout));
    assertNear(Date.parse(validTo), Date.now() + 29 * DAY);
    assertStrictEquals(warnings.length, 2);
    for (const warning of warnings) assertStringIncludes(warning, "Read-only file system");
  },
});

Deno.test("createDevicePki removes what a crash left behind, and nothing else", async () => {
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

Deno.test("createDevicePki leaves what a crash left behind where it may not write", async () => {
  await using dir = await tempDir();
  await createDevicePki(dir.path, "camera-1");
  await plantTemporary(dir.path, ".camera-1.0123456789abcdef", 2);
  const script = `
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../misc/pki.ts"))};
    console.log((await createDevicePki(${JSON.stringify(dir.path)}, "camera-1")).warnings.length);`;
  assertStrictEquals(await runScript(script, readOnly(dir.path), {}), "0\n");
  assertEquals(await entries(dir.path), [".camera-1.0123456789abcdef", "camera-1"]);
});

Deno.test("a process that is killed in the middle leaves nothing that stays, and no half identity", async () => {
  await using dir = await tempDir();
  const script = `
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../misc/pki.ts"))};
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

/** The permissions of a program that may only use what is there. */
function readOnly(dir: string): string[] {
  return [`--allow-read=${dir}`, "--allow-sys=uid"];
}

/** Tells whether this user can mount something, in namespaces of its own. */
async function canMount(): Promise<boolean> {
  if (Deno.build.os !== "linux") return false;
  try {
    const script = "mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp";
    const { success } = await new Deno.Command("unshare", {
      args: ["-rm", "sh", "-c", script],
      stderr: "null",
    }).output();
    if (success) return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  console.warn("This user can't mount anything with unshare: a test is skipped");
  return false;
}

/** Makes what a call leaves behind that is cut, so many hours ago. */
async function plantTemporary(parent: string, name: string, hours: number): Promise<void> {
  const path = join(parent, name);
  if (/\.pem/.test(name)) {
    await Deno.writeTextFile(path, "half a certif", { mode: 0o600 });
  } else {
    await Deno.mkdir(path, { mode: 0o700 });
    await Deno.writeTextFile(join(path, "ca.pem"), "half a certif", { mode: 0o600 });
  }
  const time = new Date(Date.now() - hours * 60 * 60 * 1000);
  await Deno.utime(path, time, time);
}

/** Does something while the clock is so many days ahead; one can't set the real one here. */
async function whileClockIsAhead<T>(days: number, action: () => Promise<T>): Promise<T> {
  const now = Date.now;
  Date.now = () => now() + days * DAY;
  try {
    return await action();
  } finally {
    Date.now = now;
  }
}

/** Gives a device's key a certificate that has this many days left. */
async function reissue(
  { caFile, certFile }: { caFile: string; certFile: string },
  days: number,
): Promise<void> {
  const authority = {
    certificate: await Deno.readTextFile(caFile),
    privateKey: await Deno.readTextFile(join(dirname(caFile), "ca_key.pem")),
  };
  const certificate = await renewLeaf(authority, await Deno.readTextFile(certFile), {
    subject: { commonName: "camera-1" },
    usages: ["serverAuth", "clientAuth"],
    alternativeNames: [{ type: "dns", value: "camera-1" }],
    days,
  });
  await Deno.writeTextFile(certFile, certificate);
}

/** Gives a device an authority that has this many days left, and a certificate with half of them. */
async function replaceIdentity(home: string, days: number): Promise<void> {
  const authority = await createAuthority({ commonName: "Device CA" }, days);
  const leaf = await createLeaf(authority, {
    subject: { commonName: "camera-1" },
    usages: ["serverAuth", "clientAuth"],
    alternativeNames: [{ type: "dns", value: "camera-1" }],
    days: days / 2,
  });
  await Deno.writeTextFile(join(home, "ca.pem"), authority.certificate);
  await Deno.writeTextFile(join(home, "ca_key.pem"), authority.privateKey);
  await Deno.writeTextFile(join(home, "cert.pem"), leaf.certificate);
  await Deno.writeTextFile(join(home, "key.pem"), leaf.privateKey);
}
