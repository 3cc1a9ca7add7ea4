/**
 * The identity of a device: its certificate, name and id; its files, which are created once and then
 * loaded, and which other users can not access.
 */
import { publicKey256 } from "@degu/degu/server";
import type { PeerCertificate } from "@degu/degu/base";
import { createDevicePki, isDeviceName, readAuthority } from "@degu/degu/device";
import { identifyDevice, readAuthorityDer } from "@degu/internal/device/identity/authority.ts";
import { formatPem } from "@degu/internal/net/tls/certificate.ts";
import { createAuthority } from "@degu/degu/certificates";
import {
  checkDeviceName,
  findFreeName,
  formatDeviceId,
  isDeviceId,
} from "@degu/internal/device/identity/names.ts";
import {
  type Deviation,
  EXTENSIONS,
  makeAuthority,
  makeLeaf,
  type TestAuthority,
} from "../../tests/net/tls/authorities.ts";
import { createTempDir, listNames, readMode, readTexts } from "@degu/testing/directories.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { createHash, createPrivateKey, sign, X509Certificate } from "node:crypto";
import { authorityOf, TestDevices } from "@degu/testing/device_pairs.ts";
import { hasSubjectName, readCertificate } from "../../tests/net/tls/certificates.ts";
import { patch } from "@degu/testing/patching.ts";
import { RunningProcess, runScript, spawnScript } from "@degu/testing/processes.ts";
import { dirname, join } from "@degu/internal/internal/paths.ts";
import {
  checkPrivate,
  replacePrivateFile,
  USABLE_BY_OTHERS,
  writeAndRename,
  writePrivateFile,
} from "@degu/internal/device/identity/private_files.ts";
import { ignoreIf } from "@degu/testing/terminals.ts";

const { authority, signsCertificates } = EXTENSIONS;

Deno.test("readAuthority returns the id, the key and the certificate of a device from the text of its authority", () => {
  const { certificate } = createAuthority({ commonName: "a", organization: "o" });
  const parsed = readAuthority(certificate);
  assertEquals(parsed.ca, certificate);
  assertEquals(parsed.publicKey256, publicKey256(certificate));
  const hash = Uint8Array.fromHex(parsed.publicKey256.replaceAll(":", ""));
  assertEquals(parsed.id, formatDeviceId(hash));
  assertEquals(formatPem(parsed.raw), certificate);
  assertEquals(readAuthorityDer(parsed.raw), parsed);
});

Deno.test("readAuthorityDer rejects certificates of any other form", async (t) => {
  const issuer = makeAuthority();
  const { noAuthority, signsHandshakes, signsAlsoHandshakes, unknown, nameConstraints } =
    EXTENSIONS;
  const withExtensions = (...extensions: NonNullable<Deviation["extensions"]>) => ({ extensions });
  const basic = [authority(), signsCertificates()];
  const rows: [name: string, deviation: Deviation, problem: RegExp | null][] = [
    ["unchanged", {}, null],
    ["a key that also signs handshakes", withExtensions(authority(), signsAlsoHandshakes()), null],
    ["an unknown extension that is not critical", withExtensions(...basic, unknown(false)), null],
    ["P-384", { key: "P-384" }, /P-256/],
    ["RSA", { key: "RSA" }, /DER/],
    ["SHA-384", { hash: "SHA-384" }, /DER/],
    ["no authority", withExtensions(noAuthority(), signsCertificates()), /CA:TRUE/],
    ["no basicConstraints", withExtensions(signsCertificates()), /CA:TRUE/],
    ["no keyUsage", withExtensions(authority()), /keyCertSign/],
    ["no keyCertSign", withExtensions(authority(), signsHandshakes()), /keyCertSign/],
    ["an unknown critical extension", withExtensions(...basic, unknown(true)), /critical/],
    ["constraints on names", withExtensions(...basic, nameConstraints(false)), /constraints/],
    ["no extension", withExtensions(), /CA:TRUE/],
    ["an extension twice", withExtensions(...basic, authority()), /DER/],
    ["signed by another", { issuer }, /another authority/],
    ["signed by another of the same name", { issuer, name: issuer.name }, /own key/],
    ["more than 2 KiB", withExtensions(...basic, unknown(false, 2048)), /2048/],
  ];
  for (const [name, deviation, problem] of rows) {
    await t.step(name, () => {
      const { der, pem } = makeAuthority(deviation);
      if (problem === null) {
        assertEquals(readAuthorityDer(der).ca, pem);
        return;
      }
      for (const read of [() => readAuthorityDer(der), () => readAuthority(pem)]) {
        const error = assertThrows(read, RangeError, "Not the certificate");
        assert(problem.test(error.message), error.message);
      }
    });
  }
});

Deno.test("readAuthorityDer accepts 2048 bytes, and no more", () => {
  const basic = [authority(), signsCertificates()];
  for (const bytes of [2048, 2049]) {
    // A signature has 70 to 72 bytes.
    let der = new Uint8Array();
    for (let padding = 1500; der.length !== bytes; padding += bytes - der.length) {
      ({ der } = makeAuthority({ extensions: [...basic, EXTENSIONS.unknown(false, padding)] }));
    }
    if (bytes === 2048) assertEquals(readAuthorityDer(der).raw, der);
    else assertThrows(() => readAuthorityDer(der), RangeError, "it has 2049 bytes");
  }
});

Deno.test("readAuthorityDer rejects a certificate that is changed, truncated or extended, and random bytes", () => {
  const { der } = makeAuthority();
  // Every fifth bit: one or two bits of each byte.
  for (let bit = 0; bit < der.length * 8; bit += 5) {
    const changedDer = Uint8Array.from(der);
    changedDer[bit >> 3]! ^= 1 << (bit & 7);
    assertThrows(() => readAuthorityDer(changedDer), RangeError, "Not", `bit ${bit}`);
  }
  for (let length = 0; length < der.length; length += 7) {
    assertThrows(() => readAuthorityDer(der.subarray(0, length)), RangeError);
  }
  assertThrows(() => readAuthorityDer(Uint8Array.of(...der, 0)), RangeError);
  assertThrows(() => readAuthorityDer(Uint8Array.of(...der, ...der)), RangeError);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 2100 }), (random) => {
    assertThrows(() => readAuthorityDer(random), RangeError);
  }));
});

Deno.test("readAuthorityDer rejects a certificate with a length in non-minimal form", () => {
  const { der } = makeAuthority();
  assertEquals([...der.subarray(0, 2)], [0x30, 0x82]);
  const longer = Uint8Array.of(0x30, 0x83, 0, ...der.subarray(2));
  assertThrows(() => readAuthorityDer(longer), RangeError, "DER");
  // After the signed part and the 12 bytes of the algorithm, the signature has 03, its length, 00,
  // and its bytes.
  const position = 4 + 4 + (der[6]! << 8 | der[7]!) + 12;
  assertEquals([der[position], der[position + 1]], [0x03, der.length - position - 2]);
  const inner = [...der.subarray(4, position + 1), 0x81, ...der.subarray(position + 1)];
  const rewritten = Uint8Array.of(0x30, 0x82, inner.length >> 8, inner.length & 0xff, ...inner);
  assertThrows(() => readAuthorityDer(rewritten), RangeError, "DER");
});

Deno.test("readAuthorityDer rejects a certificate of another version, with two algorithms, or with bytes after its extensions", () => {
  const { der, keys } = makeAuthority();
  const withHeader = (content: number[]) => {
    return [0x30, 0x82, content.length >> 8, content.length & 0xff, ...content];
  };
  const make = (body: number[], hash: number) => {
    const signed = withHeader(body);
    const signature = sign("sha256", Uint8Array.from(signed), keys.privateKey);
    const algorithm = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, hash];
    const tail = [...algorithm, 3, signature.length + 1, 0, ...signature];
    return Uint8Array.from(withHeader([...signed, ...tail]));
  };
  const body = [...der.subarray(8, 8 + (der[6]! << 8 | der[7]!))];
  readAuthorityDer(make(body, 2));
  // The version is encoded as a0 03, with the number 2 as 02 01 02.
  assertEquals(body.slice(0, 5), [0xa0, 3, 2, 1, 2]);
  const remainder = body.slice(5);
  const readTooLarge = () => readAuthorityDer(make([0xa0, 4, 2, 2, 1, 2, ...remainder], 2));
  assertThrows(readTooLarge, RangeError, "got 259");
  const versions = [
    ...[[2, 2, 0, 2], [2, 3, 0, 0, 2], [2, 1, 2, 5, 0], [2, 1, 2, 2], [2], [0, 0], [4, 1, 2]],
  ];
  for (const invalidVersion of versions) {
    const version = [0xa0, invalidVersion.length, ...invalidVersion];
    const read = () => readAuthorityDer(make([...version, ...remainder], 2));
    assertThrows(read, RangeError, "DER", `${invalidVersion}`);
  }
  assertThrows(() => readAuthorityDer(make(body.with(4, 1), 2)), RangeError, "version 3; got 2");
  // 3 is SHA-384 (RFC 5758 §3.2). The algorithm in the signed part follows the version and the
  // serial number.
  for (const invalidBody of [make(body, 3), make(body.with(19, 3), 2), make([...body, 5, 0], 2)]) {
    assertThrows(() => readAuthorityDer(invalidBody), RangeError, "DER");
  }
});

Deno.test("readAuthority accepts only the canonical text of an authority, and does not quote another text", async () => {
  const { pem, der } = makeAuthority();
  assertEquals(readAuthority(pem).raw, der);
  await using dir = await createTempDir();
  const { certFile, keyFile } = await createDevicePki(dir.path, "camera");
  const files = [await Deno.readTextFile(certFile), await Deno.readTextFile(keyFile)];
  const changedTexts = [pem.trimEnd(), `${pem}${pem}`, `a\n${pem}`, pem.replace("\n", "\r\n")];
  const otherKey = makeAuthority({ key: "P-384" }).pem;
  for (const text of ["", "a b c", ...files, ...changedTexts, otherKey]) {
    const { message } = assertThrows(() => readAuthority(text), RangeError, "Not the certificate");
    assert(!message.includes("BEGIN") && !message.includes("a b c"), message);
  }
  assertThrows(() => Reflect.apply(readAuthority, null, [new Uint8Array()]), TypeError, "pem: ");
});

Deno.test("a device is identified only by an authority that verified its certificate and signed it directly", () => {
  const [firstAuthority, secondAuthority] = [makeAuthority(), makeAuthority()];
  const leaf = makeLeaf(firstAuthority);
  const makeBelow = (deviation: Deviation) =>
    makeLeaf(makeAuthority({ issuer: firstAuthority, ...deviation }));
  const devices = [secondAuthority, firstAuthority].map(({ pem }) => readAuthority(pem));
  const [otherAuthority, device] = devices;
  const rows: [what: string, leaf: TestAuthority, voucher: TestAuthority | null, boolean][] = [
    ["signed by the authority that verified it", leaf, firstAuthority, true],
    ["an intermediate certificate", makeBelow({}), firstAuthority, false],
    ["an intermediate on P-384", makeBelow({ key: "P-384" }), firstAuthority, false],
    ["an intermediate on P-521", makeBelow({ key: "P-521" }), firstAuthority, false],
    ["an intermediate of RSA", makeBelow({ key: "RSA" }), firstAuthority, false],
    ["verified by another authority", leaf, secondAuthority, false],
    ["verified by the system's store", leaf, null, false],
  ];
  for (const [label, { der: raw }, voucher, isIdentified] of rows) {
    const authority = voucher && { publicKey256: publicKey256(voucher.pem), raw: voucher.der };
    const verified = { raw, authority } as unknown as PeerCertificate;
    assertEquals(identifyDevice(verified, devices), isIdentified ? device! : null, label);
    assertEquals(identifyDevice(verified, [otherAuthority!]), null, label);
  }
  assertEquals(identifyDevice(null, devices), null);
});

// The names and the ids of devices.

Deno.test("a name that is taken gets a number, and remains a valid name", () => {
  const rows: [name: string, taken: string[], free: string][] = [
    ["cam", [], "cam"],
    ["cam", ["cam"], "cam-2"],
    ["Cam", ["cam", "cam-2"], "Cam-3"],
    ["a".repeat(63), ["a".repeat(63)], `${"a".repeat(61)}-2`],
    ["cam-2", ["cam-2"], "cam-2-2"],
  ];
  for (const [name, takenNames, expectedName] of rows) {
    assertEquals(findFreeName(name, new Set(takenNames)), expectedName);
  }
  const names = fc.stringMatching(/^[a-c][a-c-]{0,62}$/);
  fc.assert(fc.property(names, fc.array(names), (name, otherNames) => {
    const takenKeys = new Set([name, ...otherNames].map((each) => each.toLowerCase()));
    const freeName = findFreeName(name, takenKeys);
    assert(isDeviceName(freeName) && !takenKeys.has(freeName.toLowerCase()));
  }));
});

Deno.test("a name has 1 to 63 letters, digits, hyphens and underscores, and is not an id; other texts cause a RangeError", () => {
  const id = formatDeviceId(new Uint8Array(32));
  for (const name of ["a", "0", "Cam_1-x", "a".repeat(63), id.slice(1), `${id}a`]) {
    checkDeviceName("name", name);
    assertEquals(isDeviceName(name), true, name);
  }
  const refused = ["", "-a", "_a", "a b", "a.b", "ä", "a\n", "a".repeat(64), id, id.toUpperCase()];
  for (const name of refused) {
    assertThrows(() => checkDeviceName("name", name), RangeError, "name: must be 1 to 63 letters");
    assertEquals(isDeviceName(name), false, name);
  }
});

Deno.test("a device's id is the SHA-256 of the authority's key, in base32", async () => {
  await using devices = await TestDevices.create();
  const device = await devices.open("camera");
  const { ca } = await authorityOf(device.dir);
  const key = new X509Certificate(ca).publicKey.export({ type: "spki", format: "der" });
  const bits = Array.from(
    createHash("sha256").update(key).digest(),
    (byte: number) => byte.toString(2).padStart(8, "0"),
  ).join("") + "0000";
  const digits = bits.match(/.{5}/g)!.map((five) =>
    "abcdefghijklmnopqrstuvwxyz234567"[parseInt(five, 2)]
  );
  assertEquals(device.id, digits.join(""));
});

Deno.test("formatDeviceId encodes 256 bits as 52 characters, and every bit counts", () => {
  assertEquals(formatDeviceId(new Uint8Array(32)), "a".repeat(52));
  assertEquals(formatDeviceId(new Uint8Array(32).fill(255)), `${"7".repeat(51)}q`);
  const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
  fc.assert(fc.property(hash, fc.nat(255), (bytes, bit) => {
    const id = formatDeviceId(bytes);
    assert(isDeviceId(id), id);
    const changedBytes = bytes.slice();
    changedBytes[bit >> 3]! ^= 1 << (bit & 7);
    assertNotEquals(formatDeviceId(changedBytes), id);
  }));
});

Deno.test("isDeviceId is true only for texts that formatDeviceId returns", () => {
  const id = formatDeviceId(new Uint8Array(32).fill(0b01011010));
  assertEquals(isDeviceId(id), true);
  const invalidIds = [
    "",
    id.slice(0, -1),
    `${id}a`,
    id.toUpperCase(),
    `${id}\n`,
    ` ${id}`,
    id.replace(/.$/, "b"), // the last four bits are not 0
    id.replace(/^./, "1"),
    id.replace(/^./, "8"),
  ];
  for (const text of invalidIds) assertEquals(isDeviceId(text), false, JSON.stringify(text));
});

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
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../mod.ts"))};
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
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../mod.ts"))};
    const call = createDevicePki(${JSON.stringify(dir.path)}, "hub");
    console.log(await call.catch((error) => error instanceof Deno.errors.NotCapable));`;
  const permissions = [`--allow-read=${dir.path}`, "--allow-sys=uid"];
  assertEquals(await runScript(script, permissions, {}), "true\n");
  assertEquals(await listNames(dir.path), []);
});

Deno.test("processes that call createDevicePki at the same time agree, with access only to its directory", async () => {
  await using dir = await createTempDir();
  const script = `
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../mod.ts"))};
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
    const message = `Missing ${path}`;
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
    import { createDevicePki } from "@degu/degu/device";
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

Deno.test("writePrivateFile creates a file of mode 0600, and doesn't overwrite a file", async () => {
  await using dir = await createTempDir();
  const path = join(dir.path, "key");
  await writePrivateFile(path, "secret");
  assertEquals(await Deno.readTextFile(path), "secret");
  if (Deno.build.os !== "windows") assertEquals(await readMode(path), 0o600);
  await assertRejects(() => writePrivateFile(path, "other"), Deno.errors.AlreadyExists);
  assertEquals(await Deno.readTextFile(path), "secret");
});

Deno.test("replacePrivateFile replaces a file; if it fails, the old file stays and the temporary one is removed", async () => {
  await using dir = await createTempDir();
  const [path, temporary] = [join(dir.path, "key"), join(dir.path, "new")];
  await Deno.writeTextFile(path, "old", { mode: 0o644 });
  await replacePrivateFile(path, "secret", temporary);
  assertEquals(await Deno.readTextFile(path), "secret");
  if (Deno.build.os !== "windows") assertEquals(await readMode(path), 0o600);
  await Deno.mkdir(join(dir.path, "directory"));
  await assertRejects(() => replacePrivateFile(join(dir.path, "directory"), "x", temporary));
  const fail = () => Promise.reject(new Error("failed"));
  await assertRejects(() => writeAndRename(path, "x", temporary, fail), Error, "failed");
  assertEquals(await listNames(dir.path), ["directory", "key"]);
  await Deno.writeTextFile(temporary, "somebody's");
  await assertRejects(() => writeAndRename(path, "x", temporary, fail), Deno.errors.AlreadyExists);
  assertEquals(await Deno.readTextFile(path), "secret");
  assertEquals(await Deno.readTextFile(temporary), "somebody's");
});

Deno.test("an error of writing a private file names the file, and the file is removed", async () => {
  await using dir = await createTempDir();
  const [path, temporary] = [join(dir.path, "key"), join(dir.path, "new")];
  const fail = () =>
    Promise.reject(Object.assign(new Error("No space left on device"), { code: "ENOSPC" }));
  using _full = patch(Deno.FsFile.prototype, "write", () => fail);
  const message = (failingPath: string) => `No space left on device: write '${failingPath}'`;
  const replacing = () => replacePrivateFile(path, "secret", temporary);
  await assertRejects(replacing, Error, message(temporary));
  await assertRejects(() => writePrivateFile(path, "secret"), Error, message(path));
  assertEquals(await listNames(dir.path), []);
});

const assertRefused = (dir: string, message: string) =>
  assertRejects(() => createDevicePki(dir, "camera-1"), Deno.errors.PermissionDenied, message);

const ANOTHER_USER = 12345;

/** Returns why this user can't give a file to another user, as root can; `null` if it can. */
async function findGiftObstacle(): Promise<string | null> {
  await using dir = await createTempDir();
  return await Deno.chown(dir.path, ANOTHER_USER, null).then(() => null, String);
}

Deno.test("createDevicePki rejects directories that other users can write and keys that they can use, with advice", async () => {
  const rows: [path: string, mode: number, accepted: boolean][] = [
    [".", 0o755, true],
    [".", 0o770, false],
    [".", 0o702, false],
    ["camera-1", 0o750, true],
    ["camera-1", 0o720, false],
    ["camera-1/ca.pem", 0o644, true],
    ["camera-1/key.pem", 0o400, true],
    ["camera-1/key.pem", 0o640, false],
    ["camera-1/key.pem", 0o604, false],
    ["camera-1/ca_key.pem", 0o640, false],
  ];
  await using dir = await createTempDir();
  const load = () => createDevicePki(dir.path, "camera-1");
  await load();
  for (const [path, bits, accepted] of rows) {
    const changedPath = join(dir.path, path);
    const modeBefore = await readMode(changedPath);
    await Deno.chmod(changedPath, bits);
    if (accepted) {
      await load();
    } else {
      const error = await assertRejects(load, Deno.errors.PermissionDenied, "to other users");
      assertStringIncludes(error.message, `${changedPath} is open`);
      assert(!error.message.includes("chmod"), error.message);
    }
    await Deno.chmod(changedPath, modeBefore);
  }
  // No key is written into a directory that other users can write. A shared directory is left
  // unchanged.
  await using open = await createTempDir();
  await Deno.chmod(open.path, 0o777);
  await assertRefused(open.path, "is open to other users (mode 777)");
  await Deno.chmod(open.path, 0o1777);
  await assertRefused(open.path, "is open to other users (mode 1777)");
  assertEquals(await listNames(open.path), []);
  // The directories above are not checked.
  for (const mode of [0o1777, 0o777]) {
    await Deno.chmod(open.path, mode);
    await createDevicePki(join(open.path, `${mode}`), "camera-1");
  }
});

Deno.test(
  "createDevicePki rejects directories and keys of another user",
  ignoreIf(await findGiftObstacle()),
  async () => {
    await using dir = await createTempDir();
    const load = () => createDevicePki(dir.path, "camera-1");
    await load();
    for (const path of ["", "/camera-1", "/camera-1/ca_key.pem", "/camera-1/key.pem"]) {
      const owned = `${dir.path}${path}`;
      await Deno.chown(owned, ANOTHER_USER, null);
      const error = await assertRejects(load, Deno.errors.PermissionDenied);
      assertStringIncludes(error.message, `${owned} belongs to another user (uid 12345)`);
      assert(!error.message.includes("chown"), error.message);
      await Deno.chown(owned, 0, null);
      await load();
    }
    // No key is written into a directory of another user.
    await using theirs = await createTempDir();
    await Deno.chown(theirs.path, ANOTHER_USER, null);
    await assertRefused(theirs.path, "belongs to another user");
    assertEquals(await listNames(theirs.path), []);
  },
);

Deno.test(
  "a user's files must belong to that user or to root",
  ignoreIf(await findGiftObstacle()),
  async () => {
    await using dir = await createTempDir();
    const rows = [[0, 0, true], [0, 7, false], [7, 0, true], [7, 7, true], [7, 8, false]] as const;
    for (const [user, owner, isAccepted] of rows) {
      await Deno.chown(dir.path, owner, null);
      using _user = patch(Deno, "uid", () => () => user);
      const checked = await checkPrivate(dir.path, USABLE_BY_OTHERS).then(() => true, () => false);
      assertEquals(checked, isAccepted, `${user} ${owner}`);
    }
    await Deno.chown(dir.path, 0, null);
  },
);

Deno.test("createDevicePki creates no files without the permission to read the user id", async () => {
  await using dir = await createTempDir();
  const permissions = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`];
  const script = `
    import { createDevicePki } from ${JSON.stringify(import.meta.resolve("../mod.ts"))};
    await createDevicePki(${JSON.stringify(dir.path)}, "camera-1").catch(({ name, message }) =>
      console.log(name + ": " + message));`;
  const printed = await runScript(script, permissions, {});
  assertMatch(printed, /^NotCapable: Requires sys access to "uid"/);
  assertEquals(await listNames(dir.path), []);
});
