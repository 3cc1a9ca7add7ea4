/** The names of devices, and the DNS names that are made from them. */
import { assert, assertEquals, assertMatch, assertRejects, assertStrictEquals } from "@std/assert";
import * as fc from "fast-check";
import { basename, dirname, join } from "@std/path";
import { createDevicePki } from "@degu/degu/device";
import { readCertificate } from "@degu/testing/certificates.ts";
import { entries, tempDir } from "@degu/testing/directories.ts";

Deno.test("createDevicePki accepts any device name, and finds its identity again", async (t) => {
  await using dir = await tempDir();
  const longest = `${"a".repeat(62)}.b`;
  const rows: [name: string, dnsName: string | RegExp][] = [
    ["camera-1", "camera-1"],
    ["camera-1.local", "camera-1.local"],
    [longest, longest],
    ["Camera-1", /^camera-1-[0-9a-f]{16}$/],
    ["camera_1", /^camera-1-[0-9a-f]{16}$/],
    ["Anna's camera", /^anna-s-camera-[0-9a-f]{16}$/],
    ["KÜCHE", /^kuche-[0-9a-f]{16}$/],
    ["\u212a.local", /^k-local-[0-9a-f]{16}$/],
    ["名前", /^device-[0-9a-f]{16}$/],
    ["📷", /^device-[0-9a-f]{16}$/],
    ["127.0.0.1", /^127-0-0-1-[0-9a-f]{16}$/],
    ["x".repeat(300), /^x{46}-[0-9a-f]{16}$/],
    [`${"x".repeat(45)} y`, /^x{45}-[0-9a-f]{16}$/],
    [`${longest}b`, /^a{46}-[0-9a-f]{16}$/],
    [".", /^device-[0-9a-f]{16}$/],
    ["..", /^device-[0-9a-f]{16}$/],
    ["../../camera-1", /^camera-1-[0-9a-f]{16}$/],
    ["/etc/passwd", /^etc-passwd-[0-9a-f]{16}$/],
    ["C:\\camera", /^c-camera-[0-9a-f]{16}$/],
    ["*.local", /^local-[0-9a-f]{16}$/],
    ["camera-1.", /^camera-1-[0-9a-f]{16}$/],
  ];
  const made = new Set<string>();
  for (const [name, expected] of rows) {
    await t.step(`${name.slice(0, 30)} (${name.length})`, async () => {
      const device = await createDevicePki(dir.path, name);
      if (typeof expected === "string") assertStrictEquals(device.name, expected);
      else assertMatch(device.name, expected);
      assertStrictEquals(device.certFile, join(dir.path, device.name, "cert.pem"));
      const cert = await readCertificate(device.certFile);
      assertStrictEquals(cert.subject, `CN=${device.name}`);
      assertStrictEquals(cert.subjectAltName, `DNS:${device.name}`);
      assertEquals(await createDevicePki(dir.path, name, { renew: false }), device);
      // What was derived stands for itself.
      assertEquals(await createDevicePki(dir.path, device.name, { renew: false }), device);
      made.add(device.name);
    });
  }
  assertStrictEquals(made.size, rows.length);
  assertEquals(await entries(dir.path), [...made].sort());
});

Deno.test("createDevicePki always derives the same name", async (t) => {
  await using dir = await tempDir();
  // SHA-256 of what stands here in UTF-8, from another program.
  const rows: [name: string, dnsName: string][] = [
    ["Anna's camera", "anna-s-camera-ca91bfd7af397728"],
    ["KÜCHE", "kuche-867294d0bc78cabc"],
    ["KU\u0308CHE", "kuche-867294d0bc78cabc"],
    ["名前", "device-7ec26292414bccef"],
    ["../../camera-1", "camera-1-d9597a6328d2f812"],
  ];
  for (const [name, expected] of rows) {
    await t.step(expected, async () => {
      assertStrictEquals((await createDevicePki(dir.path, name)).name, expected);
    });
  }
  assertStrictEquals((await entries(dir.path)).length, 4);
});

Deno.test("createDevicePki derives a distinct DNS name from any text", async () => {
  await using dir = await tempDir();
  const seen = new Map<string, string>();
  const text = fc.oneof(
    fc.string({ unit: "binary", minLength: 1, maxLength: 80 }),
    fc.string({ unit: fc.constantFrom("a", "A", "-", ".", "_", "/", " ", "\u212a", "ä", "9") }),
  );
  await fc.assert(fc.asyncProperty(text, async (name) => {
    // Nothing is made; the message says what the name is.
    const error = await assertRejects(() => createDevicePki(dir.path, name, { renew: false }));
    if (error instanceof RangeError) return;
    assert(error instanceof Deno.errors.NotFound, String(error));
    const [, dnsName = ""] = error.message.match(/There is no identity in (.*), and with/) ?? [];
    assertStrictEquals(dirname(dnsName), dir.path);
    assertMatch(basename(dnsName), /^(?=.{1,64}$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/);
    const normal = name.normalize("NFC");
    assertStrictEquals(seen.get(dnsName) ?? normal, normal);
    seen.set(dnsName, normal);
  }));
  assertEquals(await entries(dir.path), []);
});
