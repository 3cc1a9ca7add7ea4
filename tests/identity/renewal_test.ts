/** A device's identity over time: renewals, wrong clocks, read-only disks, crashes; and of an open device. */
import { createDevicePki, type DevicePkiOptions } from "@degu/degu/device";
import { createAuthority, createLeaf, renewLeaf } from "@degu/internal/identity/certificates.ts";
import { DeviceIdentity } from "@degu/internal/identity/device_identity.ts";
import { openDevicePki } from "@degu/internal/identity/device_pki.ts";
import { assertNear, covers, readCertificate } from "@degu/testing/certificates.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { mustRun, obstacleTo } from "@degu/testing/commands.ts";
import { authorityOf } from "@degu/testing/device_pairs.ts";
import { setUp } from "@degu/testing/device_serving.ts";
import { entries, snapshot, tempDir } from "@degu/testing/directories.ts";
import { THROUGH_MOUNT_NAMESPACE } from "@degu/testing/namespaces.ts";
import { patch } from "@degu/testing/patching.ts";
import { runScript } from "@degu/testing/processes.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { stated } from "@degu/testing/stated.ts";
import { testUnless } from "@degu/testing/terminals.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { basename, dirname, join } from "@std/path";
import { FakeTime } from "@std/testing/time";
import { createPrivateKey } from "node:crypto";
import { assertRefused, plantTemporary, readOnly } from "./device_identities.ts";

const DAY = 24 * 60 * 60 * 1000;

Deno.test("createDevicePki renews a certificate that expires within 30 days, for the same key", async (t) => {
  for (const [days, renewed] of [[-1, true], [0, true], [29.99, true], [30.01, false]] as const) {
    await t.step(`${days} days left: ${renewed ? "renewed" : "kept"}`, async () => {
      await using dir = await tempDir();
      const { caFile, certFile, keyFile } = await createDevicePki(dir.path, "camera-1");
      await reissue({ caFile, certFile }, days);
      const before = await snapshot(dirname(certFile));
      const results = await Promise.all([1, 2, 3].map(() => createDevicePki(dir.path, "camera-1")));

      const expected = Date.now() + (renewed ? 365 : days) * DAY;
      for (const { validTo } of results) assertNear(validTo.getTime(), expected);
      const after = await snapshot(dirname(certFile));
      assertEquals(after["cert.pem"] === before["cert.pem"], !renewed);
      assertEquals({ ...after, "cert.pem": "" }, { ...before, "cert.pem": "" });
      const cert = await readCertificate(certFile);
      assertEquals(cert.verify((await readCertificate(caFile)).publicKey), true);
      assertEquals(cert.checkPrivateKey(createPrivateKey(await Deno.readTextFile(keyFile))), true);
      assert(covers(cert, "camera-1"));
    });
  }
});

Deno.test("createDevicePki keeps a certificate that expires with its authority, and warns of that within 30 days", async (t) => {
  for (const [days, warned] of [[30.01, false], [29.99, true], [10, true], [1, true]] as const) {
    await t.step(`${days} days left: ${warned}`, async () => {
      await using dir = await tempDir();
      const { caFile } = await createDevicePki(dir.path, "camera-1");
      await replaceIdentity(dirname(caFile), days);
      const first = await createDevicePki(dir.path, "camera-1");
      assertNear(first.validTo.getTime(), Date.now() + days * DAY);
      const before = await snapshot(dirname(caFile));
      for (const renew of [true, false]) {
        assertEquals(await createDevicePki(dir.path, "camera-1", { renew }), first);
      }
      assertEquals(await snapshot(dirname(caFile)), before);
      assertEquals(first.warnings.length, warned ? 1 : 0, String(first.warnings));
      const logger = new RecordingLogger();
      const life = { days: 365, renewalDays: 30 };
      const identity = await DeviceIdentity.open(dir.path, "camera-1", life, logger);
      await identity.refresh();
      assertEquals(logger.at("warn"), first.warnings); // once
      if (!warned) return;
      const date = new Date(Date.now() + days * DAY).toISOString().slice(0, 10);
      assertStringIncludes(first.warnings[0]!, `The authority in ${caFile} expires at ${date}T`);
      assertStringIncludes(first.warnings[0]!, "pair the device again");
    });
  }
});

Deno.test("the warning of an authority begins when as many days are left as docs/identity.md says, to the millisecond", async () => {
  const page = "docs/identity.md";
  const days = await stated(
    page,
    /never replaced, because it is what the peers trust:\s+in its last (\d+) days/,
  );
  await using dir = await tempDir();
  const { caFile } = await createDevicePki(dir.path, "camera-1");
  await replaceIdentity(dirname(caFile), days + 1);
  const { validTo } = await createDevicePki(dir.path, "camera-1");
  const { now } = Date;
  for (const [more, count] of [[0, 0], [1, 1]] as const) {
    Date.now = () => validTo.getTime() - days * DAY + more;
    const { warnings } = await createDevicePki(dir.path, "camera-1").finally(() => Date.now = now);
    assertEquals(warnings.length, count, String(warnings));
  }
});

Deno.test("a certificate is renewed when fewer days are left than docs/device.md says, to the millisecond", async () => {
  const days = await stated("docs/device.md", /checks every hour whether fewer than (\d+) days/);
  await using dir = await tempDir();
  const { validTo } = await createDevicePki(dir.path, "camera-1");
  const { now } = Date;
  for (const [more, isRenewed] of [[0, false], [1, true]] as const) {
    Date.now = () => validTo.getTime() - days * DAY + more;
    const found = await createDevicePki(dir.path, "camera-1").finally(() => Date.now = now);
    assertEquals(found.validTo.getTime() > validTo.getTime(), isRenewed);
  }
});

Deno.test("createDevicePki rejects an authority that has expired", async () => {
  await using dir = await tempDir();
  const device = await createDevicePki(dir.path, "camera-1");
  await replaceIdentity(dirname(device.caFile), -0.5);
  const { message } = await assertRefused(dir.path, "InvalidData", "ca.pem has expired at");
  assertStringIncludes(message, ": if the clock is right, remove the directory");
});

Deno.test("no warning comes of a renewal that fails as another process has just made it", async () => {
  await using dir = await tempDir();
  const device = await createDevicePki(dir.path, "camera-1");
  await reissue(device, 29);
  using _late = patch(Deno, "rename", (rename) => async (from, to) => {
    await rename(from, to);
    throw new Error("too late");
  });
  const { validTo, warnings } = await createDevicePki(dir.path, "camera-1");
  assertNear(validTo.getTime(), Date.now() + 365 * DAY);
  assertEquals(warnings, []);
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
  const error = await assertRefused(
    dir.path,
    "InvalidData",
    `The authority in ${caFile} is not valid before`,
  );
  assertMatch(error.message, /correct the clock.*pair the device again/);
  assertEquals(await snapshot(dirname(caFile)), before);
  await whileClockIsAhead(3, () => createDevicePki(dir.path, "camera-1"));
});

Deno.test("a certificate that may not be renewed is returned with a warning as long as it is valid, and nothing is written", async () => {
  await using dir = await tempDir();
  const rows: [name: string, days: number, ahead: number, said: RegExp | null][] = [
    ["not-due", 31, 0, null],
    ["due", 29, 0, /^The certificate in .*cert\.pem expires at /],
    ["expired", -0.5, 0, /^InvalidData: .*pem has expired at /],
    ["ahead", 365, 3, /^InvalidData: .*pem is not valid before .* correct the clock/],
  ];
  for (const [name, days, ahead] of rows) {
    const device = await createDevicePki(dir.path, name);
    await whileClockIsAhead(ahead, () => reissue(device, days));
    await plantTemporary(dir.path, `.${name}.0123456789abcdef`, 2);
    await plantTemporary(dirname(device.certFile), "cert.pem.0123456789abcdef", 2);
  }
  const places = [dir.path, ...rows.map(([name]) => join(dir.path, name))];
  const before = await Promise.all(places.map(stamps));
  const load = (dir: string, names: string[], options: DevicePkiOptions) =>
    Promise.all(names.map((name) =>
      createDevicePki(dir, name, options)
        .then(({ validTo, warnings }) => ({ validTo: validTo.getTime(), warnings }))
        .catch((error) => ({ validTo: 0, warnings: [`${error.name}: ${error.message}`] }))
    ));
  const names = rows.map(([name]) => name);
  const script = `
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../../device.ts"))};
    const load = ${load};
    const [dir, names] = ${JSON.stringify([dir.path, names])};
    const options = [{}, { renew: false }];
    console.log(JSON.stringify(await Promise.all(options.map((each) => load(dir, names, each)))));`;
  const [denied, unwanted] = JSON.parse(await runScript(script, readOnly(dir.path), {}));
  const results: [Awaited<ReturnType<typeof load>>, why: string][] = [
    [denied, "could not be renewed: Requires write access"],
    [unwanted, "is not renewed, as renew is false"],
    [await load(dir.path, names, { renew: false }), "is not renewed, as renew is false"],
  ];
  for (const [found, why] of results) {
    for (const [index, [name, days, , said]] of rows.entries()) {
      const { validTo, warnings } = found[index]!;
      assertEquals(warnings.length, said === null ? 0 : 1, `${name}: ${warnings}`);
      if (validTo !== 0) assertNear(validTo, Date.now() + days * DAY);
      if (said === null) continue;
      assertMatch(warnings[0] ?? "", said);
      assertStringIncludes(warnings[0] ?? "", why);
    }
  }
  assertEquals(await Promise.all(places.map(stamps)), before);
});

/** The command that runs the command behind it where a directory can't be written. */
const throughReadOnlyMount = (dir: string): string[] => {
  const mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"';
  return [...THROUGH_MOUNT_NAMESPACE, "sh", "-c", mount, dir];
};

/** Why no directory can be made read-only here; `null` if one can. */
async function readOnlyObstacle(): Promise<string | null> {
  // A directory of its own: one below which something else is mounted can't be mounted again.
  await using dir = await tempDir();
  return await obstacleTo([...throughReadOnlyMount(dir.path), "true"]);
}

testUnless(
  await readOnlyObstacle(),
  "createDevicePki returns a valid certificate on a read-only file system, with a warning",
  async () => {
    await using dir = await tempDir();
    const device = await createDevicePki(dir.path, "camera-1");
    await reissue(device, 29);
    await plantTemporary(dir.path, ".camera-1.0123456789abcdef", 2);
    const [wanted, unrenewed] = await loadOnReadOnlyMount(dir.path);
    assertNear(Date.parse(wanted.validTo), Date.now() + 29 * DAY);
    assertEquals(wanted.warnings.length, 2);
    for (const warning of wanted.warnings) assertStringIncludes(warning, "Read-only file system");

    assertNear(Date.parse(unrenewed.validTo), Date.now() + 29 * DAY);
    assertEquals(unrenewed.warnings.length, 1);
    assertStringIncludes(unrenewed.warnings[0] ?? "", "is not renewed, as renew is false");
  },
);

Deno.test("createDevicePki with renew: false rejects if there is no identity, and makes none", async (t) => {
  await using dir = await tempDir();
  await createDevicePki(dir.path, "camera-1");
  const rows: [dir: string, name: string][] = [
    [dir.path, "camera-2"],
    [dir.path, "Camera-1"],
    [join(dir.path, "no", "such"), "camera-1"],
  ];
  for (const [path, name] of rows) {
    await t.step(`${path.slice(dir.path.length)} ${name}`, async () => {
      const error = await assertRejects(
        () => createDevicePki(path, name, { renew: false }),
        Deno.errors.NotFound,
        `There is no identity in ${path}`,
      );
      assertStringIncludes(error.message, "call createDevicePki without it once");
      assertEquals(await entries(dir.path), ["camera-1"]);
    });
  }
});

/** What a process loaded. */
interface Loaded {
  readonly validTo: string;
  readonly warnings: readonly string[];
}

/** Loads an identity in a process whose file system can't be written there, with leave to write; then with `renew: false`. */
async function loadOnReadOnlyMount(dir: string): Promise<[Loaded, Loaded]> {
  const script = `
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../../device.ts"))};
    const load = (options) => createDevicePki(${JSON.stringify(dir)}, "camera-1", options);
    console.log(JSON.stringify([await load({}), await load({ renew: false })]));`;
  const module = `data:text/javascript,${encodeURIComponent(script)}`;
  const permissions = [...readOnly(dir), `--allow-write=${dir}`];
  const program = [Deno.execPath(), "run", "--no-prompt", "--quiet", ...permissions, module];
  return JSON.parse(await mustRun([...throughReadOnlyMount(dir), ...program]));
}

/** What shows that something in a directory was written: its times, its size, which file it is. */
async function stamps(dir: string): Promise<unknown[]> {
  const paths = [dir, ...(await entries(dir)).map((name) => join(dir, name))];
  return await Promise.all(paths.map(async (path) => {
    const { mtime, ctime, size, ino } = await Deno.lstat(path);
    return [path, mtime, ctime, size, ino];
  }));
}

/** Does something while the clock is so many days ahead; one can't set the real one here. */
async function whileClockIsAhead<T>(days: number, action: () => Promise<T>): Promise<T> {
  using _clock = setClockAhead(days * DAY);
  return await action();
}

/** Gives a device's key a certificate that has this many days left. */
async function reissue(
  { caFile, certFile }: { caFile: string; certFile: string },
  days: number,
): Promise<void> {
  const name = basename(dirname(certFile));
  const authority = {
    certificate: await Deno.readTextFile(caFile),
    privateKey: await Deno.readTextFile(join(dirname(caFile), "ca_key.pem")),
  };
  const certificate = await renewLeaf(authority, await Deno.readTextFile(certFile), {
    subject: { commonName: name },
    usages: ["serverAuth", "clientAuth"],
    alternativeNames: [{ type: "dns", value: name }],
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

const HOUR = 60 * 60 * 1000;

Deno.test("an open identity changes with its certificate only, and never for that of another device", async () => {
  await using dir = await tempDir();
  const logger = new RecordingLogger();
  const life = { days: 365, renewalDays: 30 };
  const identity = await DeviceIdentity.open(dir.path, "camera", life, logger);
  let renewals = 0;
  identity.onRenewal(() => renewals++);
  const peer = { certificate: identity.authority.certificate };
  const before = identity.clientContext(peer);
  await identity.refresh();
  assertStrictEquals(identity.clientContext(peer), before);
  assertEquals(renewals, 0);
  await openDevicePki(dir.path, "camera", {}, { ...life, renewalDays: 400 });
  await identity.refresh();
  const after = identity.clientContext(peer);
  assert(after !== before, "it shows the new certificate");
  assertEquals([renewals, logger.at("error")], [1, []]);
  await Deno.remove(join(dir.path, "camera"), { recursive: true });
  await openDevicePki(dir.path, "camera", {}, life);
  await identity.refresh();
  assertStrictEquals(identity.clientContext(peer), after);
  assertEquals(renewals, 1);
  assertMatch(logger.at("error").join(), /the identity was replaced; open the device again$/);
});

Deno.test("a server's context of an open identity verifies clients by the given authorities, or none", async () => {
  await using dir = await tempDir();
  const life = { days: 365, renewalDays: 30 };
  const identity = await DeviceIdentity.open(dir.path, "camera", life, new RecordingLogger());
  const { certificate } = identity.authority;
  assertEquals(identity.serverContext([{ certificate }]).verify, true);
  assertEquals(identity.serverContext([]).verify, true);
  assertEquals(identity.serverContext(null).verify, false);
});

Deno.test("a certificate is renewed while the device is open, by itself or by another process", async () => {
  // The device looks every hour. No other timer is needed here: nothing is late.
  using time = new FakeTime();
  await using setup = await setUp();
  const { camera, viewer, logger } = setup;
  const client = await viewer.client("camera");
  const seen = async () => {
    using conn = await client.connect();
    return conn.sock.peerCertificate!;
  };
  const before = await seen();
  const renewal = { days: 365, renewalDays: 400 };
  await openDevicePki(join(camera.dir, "identity"), "camera", {}, renewal);
  let after = before;
  assertEquals((await seen()).fingerprint256, before.fingerprint256);
  time.tick(HOUR);
  for (let tries = 0; tries < 500 && after.fingerprint256 === before.fingerprint256; tries++) {
    after = await seen();
  }
  assertNotEquals(after.fingerprint256, before.fingerprint256);
  assertEquals(after.publicKey256, before.publicKey256);
  assertEquals(after.authority!.raw, (await authorityOf(camera.dir)).der);
  assertEquals(logger.at("error"), []);
});
