/** The certificates that devices exchange, their names and their ids. */
import { publicKey256 } from "@degu/degu/server";
import type { PeerCertificate } from "@degu/degu/base";
import { createDevicePki, isDeviceName, readAuthority } from "@degu/device";
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
} from "@degu/testing/authorities.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { createHash, sign, X509Certificate } from "node:crypto";
import { authorityOf, TestDevices } from "@degu/testing/device_pairs.ts";

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
