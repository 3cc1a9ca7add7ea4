/** Creating certificates, the names that they can contain, and their encoding in DER. */
import fc from "fast-check";
import { quote } from "@degu/internal/internal/quote.ts";
import {
  type CertificateSubject,
  createAuthority,
  createLeaf,
  findAuthorityFormProblem,
  type LeafProfile,
  type PemPair,
} from "@degu/degu/certificates";
import { parseAlternativeName } from "@degu/internal/net/tls/certificate_writer.ts";
import { parseCertificate, PURPOSE } from "@degu/internal/net/tls/certificate.ts";
import { derOf, hasSubjectName } from "@degu/testing/certificates.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { ignoreUnlessInstalled, runWithInput } from "@degu/testing/tls_openssl.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { createPrivateKey, X509Certificate } from "node:crypto";
import {
  decodeString,
  decodeTime,
  DerReader,
  encodeDer,
  formatObjectIdentifier,
  readDer,
  TAG,
} from "@degu/internal/net/tls/der.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

type ErrorClass = typeof TypeError | typeof RangeError;

const needsOpenssl = await ignoreUnlessInstalled("openssl");

const profile: LeafProfile = {
  subject: { commonName: "device" },
  purposes: ["serverAuth", "clientAuth"],
  alternativeNames: ["Device.local", "::1", "device.local"],
};

const authority = createAuthority({ commonName: "authority" });

Deno.test("an authority may sign leaves, and no other authority", () => {
  const { certificate, privateKey } = authority;
  const authorityCertificate = new X509Certificate(certificate);
  assert(
    authorityCertificate.ca && authorityCertificate.verify(authorityCertificate.publicKey) &&
      authorityCertificate.checkPrivateKey(createPrivateKey(privateKey)),
  );
  const { pathLength, maySignCertificates, maySign } = parseCertificate(derOf(certificate));
  assertEquals([pathLength, maySignCertificates, maySign], [0, true, false]);
});

Deno.test("a certificate has the key, the usages and the names that were requested", () => {
  const leaf = createLeaf(authority, profile);
  const certificate = new X509Certificate(leaf.certificate);
  assert(certificate.verify(new X509Certificate(authority.certificate).publicKey));
  assert(!certificate.ca && certificate.checkPrivateKey(createPrivateKey(leaf.privateKey)));
  for (const name of ["device.local", "::1"]) assert(hasSubjectName(certificate, name), name);
  const { names, purposes } = parseCertificate(derOf(leaf.certificate));
  assertEquals(names?.length, 2);
  assertEquals(purposes, [PURPOSE.serverAuth, PURPOSE.clientAuth]);
  const nameless = createLeaf(authority, { ...profile, alternativeNames: [] });
  assertEquals(parseCertificate(derOf(nameless.certificate)).names, null);
});

Deno.test("an authority and its certificates don't expire, and are valid at every time of a clock", () => {
  const leaf = createLeaf(authority, profile);
  for (const { certificate } of [authority, leaf]) {
    const { validFrom, validTo } = parseCertificate(derOf(certificate));
    assertEquals(validFrom.toISOString(), "1970-01-01T00:00:00.000Z");
    assertEquals(validTo.toISOString(), "9999-12-31T23:59:59.000Z");
  }
});

Deno.test(
  "openssl verifies an authority and its certificates with strict rules",
  needsOpenssl,
  async () => {
    await using dir = await createTempDir();
    const [caFile, certFile] = [join(dir.path, "ca.pem"), join(dir.path, "cert.pem")];
    // With the longest texts, the lengths of the outer elements have two bytes more.
    for (const length of [1, 64]) {
      const authority = createAuthority({ commonName: "c".repeat(length), organization: "ö" });
      const leaf = createLeaf(authority, {
        ...profile,
        subject: { commonName: "d".repeat(length) },
      });
      await Deno.writeTextFile(caFile, authority.certificate);
      await Deno.writeTextFile(certFile, leaf.certificate);
      for (const purpose of ["sslserver", "sslclient"]) {
        const rules = ["-x509_strict", "-check_ss_sig", "-purpose", purpose];
        const args = ["verify", ...rules, "-CAfile", caFile, certFile];
        assertEquals((await runWithInput("openssl", args, "")).code, 0, purpose);
      }
      const { stdout } = await runWithInput(
        "openssl",
        ["x509", "-noout", "-text", "-in", certFile],
        "",
      );
      assertStringIncludes(stdout, "Not Before: Jan  1 00:00:00 1970 GMT");
      assertStringIncludes(stdout, "Not After : Dec 31 23:59:59 9999 GMT");
    }
  },
);

Deno.test("no character of a name is interpreted as syntax", () => {
  const name = 'a, CN=b+O=c"<>;#=/';
  const { certificate } = createLeaf(authority, {
    ...profile,
    subject: { commonName: name, organization: "x, CN=root" },
  });
  const { subject } = parseCertificate(derOf(certificate));
  assertEquals(subject, `O=x, CN=root\nCN=${name}`);
});

Deno.test("serials are random positive numbers of 16 bytes", () => {
  const pairs = Array.from({ length: 20 }, () => createLeaf(authority, profile));
  const serials = pairs.map(({ certificate }) => new X509Certificate(certificate).serialNumber);
  for (const serial of serials) assertMatch(serial, /^[4-7][0-9A-F]{31}$/);
  assertEquals(new Set(serials).size, 20);
  const first = new Set(serials.map((serial) => parseInt(serial.slice(0, 2), 16)));
  assert(first.size > 3 && [...first].some((byte) => byte % 2 === 0), [...first].join());
});

Deno.test("a DNS name is converted to lower case, and an IP address to its canonical form", () => {
  const assertDnsName = (name: string, value: string) =>
    assertEquals(parseAlternativeName("name", name), { type: "dns", value });
  fc.assert(fc.property(fc.domain(), (name) => {
    for (const spelling of [name, name.toUpperCase()]) assertDnsName(spelling, name.toLowerCase());
  }));
  const label = "a".repeat(63);
  for (const name of ["localhost", "camera-1.local", "1a", "a.1b", label, `${label}.b`]) {
    assertDnsName(name, name);
  }
  const addresses = {
    "192.168.7.2": "192.168.7.2",
    "FE80::1": "fe80::1",
    "0:0:0:0:0:0:0:1": "::1",
    "::ffff:1.2.3.4": "::ffff:102:304",
  };
  for (const [input, value] of Object.entries(addresses)) {
    assertEquals(parseAlternativeName("name", input), { type: "ip", value });
  }
});

Deno.test("a name that a certificate can't contain is a RangeError that quotes it", () => {
  const longName = [...new Array(4).fill("a".repeat(63))].join(".");
  const invalidNames = ["", "a.", ".a", "a..b", "*.a", "a_b", "-a", "a-", "a b", "a:1", "ä"];
  const numbers = ["1.2.3", "256.1.1.1", "0x7f.1", "[::1]", "fe80::1%eth0", "::g"];
  // The Kelvin sign becomes a k in lower case.
  const otherNames = [longName, "a".repeat(64), "\u212a", "a\0", "a\n", "a,b"];
  for (const text of [...invalidNames, ...numbers, ...otherNames]) {
    const { message } = assertThrows(() => parseAlternativeName("name", text), RangeError);
    assertStringIncludes(message, quote(text));
  }
});

Deno.test("an authority and a leaf of wrong arguments are not created", async (t) => {
  const leaf = (of: unknown, issuer: unknown = authority) => () =>
    createLeaf(issuer as PemPair, of as LeafProfile);
  const ofAuthority = (subject: unknown) => () => createAuthority(subject as CertificateSubject);
  const other = createAuthority({ commonName: "other" });
  const issued = createLeaf(authority, profile);
  const rows: [label: string, create: () => unknown, Class: ErrorClass, problem: string][] = [
    ["a long name", ofAuthority({ commonName: "a".repeat(65) }), RangeError, "got 65"],
    ["a NUL", ofAuthority({ commonName: "a\0b" }), RangeError, "control"],
    ["no purposes", leaf({ ...profile, purposes: [] }), RangeError, "at least one"],
    [
      "a name with a wildcard",
      leaf({ ...profile, alternativeNames: ["*.a"] }),
      RangeError,
      '"*.a"',
    ],
    [
      "a key of another authority",
      leaf(profile, { ...authority, privateKey: other.privateKey }),
      RangeError,
      "another certificate",
    ],
    ["a leaf as authority", leaf(profile, issued), RangeError, "CA:TRUE"],
  ];
  await testEachRow(t, rows, (_label, create, Class, problem) => {
    const { message } = assertThrows(create, Class, problem);
    for (const { privateKey } of [authority, other]) {
      assert(!message.includes(privateKey.slice(40, 80)), message);
    }
  });
});

Deno.test("findAuthorityFormProblem accepts an authority, and names the problem of other bytes", () => {
  const issued = createLeaf(authority, profile);
  assertEquals(findAuthorityFormProblem(derOf(authority.certificate)), null);
  assertMatch(`${findAuthorityFormProblem(derOf(issued.certificate))}`, /CA:TRUE/);
  const der = derOf(authority.certificate);
  for (let length = 0; length < der.length; length += 7) {
    assertMatch(`${findAuthorityFormProblem(der.subarray(0, length))}`, /can't be read/);
  }
  assertMatch(`${findAuthorityFormProblem(new Uint8Array(2049))}`, /2049 bytes/);
  const parseText = () => findAuthorityFormProblem(authority.certificate as unknown as Uint8Array);
  assertThrows(parseText, TypeError, "der");
});

// ───────────────────────── encoding and decoding DER

Deno.test("a length with more bytes than necessary is refused", () => {
  const rows: [length: number, shortest: string, longer: string][] = [
    [0x7f, "7f", "817f"],
    [0xff, "81ff", "8200ff"],
    [0xffff, "82ffff", "8300ffff"],
    [0x10000, "83010000", "8400010000"],
  ];
  for (const [length, shortest, longer] of rows) {
    const content = new Uint8Array(length);
    const encode = (hex: string) => Uint8Array.of(4, ...Uint8Array.fromHex(hex), ...content);
    assertEquals(new DerReader(encode(shortest)).readContent(4), content);
    assertThrows(
      () => new DerReader(encode(longer)).readElement(),
      RangeError,
      "fewer bytes",
      longer,
    );
  }
});

Deno.test("an indefinite length, a length of more than four bytes, and a long tag are refused", () => {
  const invalidElements = [
    [0x30, 0x80, 0, 0],
    [0x30, 0x85, 0, 0, 0, 0, 0],
    [0x1f, 0x01, 0],
  ];
  for (const bytes of invalidElements) {
    assertThrows(() => new DerReader(Uint8Array.from(bytes)).readElement(), RangeError);
  }
  const huge = Uint8Array.of(0x30, 0x84, 0xff, 0xff, 0xff, 0xff);
  assertThrows(() => new DerReader(huge).readElement(), RangeError);
});

/** The contents of elements with a value, and of elements that are invalid in DER. */
const CONTENTS: Readonly<
  Record<string, {
    tag: number;
    read: (reader: DerReader) => unknown;
    valid: readonly (readonly [hex: string, value: unknown])[];
    invalid: readonly string[];
  }>
> = {
  "a boolean": {
    tag: TAG.boolean,
    read: (reader) => reader.readBoolean(),
    valid: [["00", false], ["ff", true]],
    invalid: ["", "01", "0000"],
  },
  "an integer": {
    tag: TAG.integer,
    read: (reader) => reader.readInteger().toHex(),
    valid: ["00", "7f", "80", "ff", "0080", "00ff", "ff7f", "8000"].map((hex) => [hex, hex]),
    invalid: ["", "0000", "0001", "007f", "ff80", "ffff", "000080"],
  },
  "a number": {
    tag: TAG.integer,
    read: (reader) => reader.readNatural(),
    valid: [["00", 0], ["7f", 127], ["0080", 128], ["010000", 65536]],
    invalid: ["", "80", "ff", "ff7f", "0001"],
  },
  "a bit string": {
    tag: TAG.bitString,
    read: (reader) => reader.readBitString().toHex(),
    valid: [["00", ""], ["00ff", "ff"], ["0780", "80"]],
    invalid: ["", "01", "08ff", "0800", "0107", "ff00"],
  },
  "a bit string of whole bytes": {
    tag: TAG.bitString,
    read: (reader) => reader.readBitString(0).toHex(),
    valid: [["00", ""], ["00ff80", "ff80"]],
    invalid: ["", "0180", "0100", "01"],
  },
};

for (const [label, { tag, read, valid, invalid }] of Object.entries(CONTENTS)) {
  Deno.test(`${label} has one form for each value, and other forms are refused`, () => {
    for (const [hex, value] of valid) {
      assertEquals(readDer(encodeDer(tag, Uint8Array.fromHex(hex)), read), value, hex);
    }
    for (const hex of invalid) {
      const bytes = encodeDer(tag, Uint8Array.fromHex(hex));
      assertThrows(() => readDer(bytes, read), RangeError, "DER: ", hex);
    }
    const [[hex] = [""]] = valid;
    const otherTag = encodeDer(TAG.octetString, Uint8Array.fromHex(hex));
    assertThrows(() => readDer(otherTag, read), RangeError, "expected an element");
  });
}

Deno.test("an object identifier that is empty, or ends inside a number, is refused", () => {
  for (const bytes of [[], [0x55, 0x1d, 0x13, 0x81]]) {
    assertThrows(() => formatObjectIdentifier(Uint8Array.from(bytes)), RangeError, "DER: ");
  }
});

Deno.test("a padded object identifier is refused, because its encoding is not unique", () => {
  for (const bytes of [[0x80, 0x2b], [0x2b, 0x80, 0x06]]) {
    assertThrows(() => formatObjectIdentifier(Uint8Array.from(bytes)), RangeError, "padded");
  }
});

Deno.test("a string of any type is decoded, with U+FFFD for invalid parts", () => {
  const utf16 = Uint8Array.of(0, 0x61, 0x20, 0xac, 0xd8, 0x3d, 0xde, 0x00);
  const rows: [number, Uint8Array, string][] = [
    [TAG.utf8String, new TextEncoder().encode("\ufeffa€😀"), "\ufeffa€😀"],
    [TAG.utf8String, Uint8Array.of(0x61, 0xff), "a\ufffd"],
    [TAG.bmpString, utf16, "a€😀"],
    [TAG.bmpString, Uint8Array.of(0xd8, 0x3d), "\ufffd"],
    [0x13, encodeLatin1("printable"), "printable"],
    [0x14, Uint8Array.of(0xe4), "ä"],
  ];
  for (const [tag, content, text] of rows) assertEquals(decodeString({ tag, content }), text);
});

Deno.test("a time is decoded from the two forms used in certificates (RFC 5280 §4.1.2.5)", () => {
  const rows: [number, string, string][] = [
    [TAG.utcTime, "491231235959Z", "2049-12-31T23:59:59.000Z"],
    [TAG.utcTime, "500101000000Z", "1950-01-01T00:00:00.000Z"],
    [TAG.generalizedTime, "99991231235959Z", "9999-12-31T23:59:59.000Z"],
    [TAG.generalizedTime, "00010203040506Z", "0001-02-03T04:05:06.000Z"],
  ];
  for (const [tag, text, time] of rows) {
    assertEquals(decodeTime({ tag, content: encodeLatin1(text) }).toISOString(), time);
  }
  for (
    const text of ["", "491231235959", "4912312359Z", "491231235959+0100", "20500101000000.5Z"]
  ) {
    for (const tag of [TAG.utcTime, TAG.generalizedTime]) {
      assertThrows(() => decodeTime({ tag, content: encodeLatin1(text) }), RangeError, "", text);
    }
  }
  // Dates and times that don't exist.
  const impossible = ["1332256199", "0001000000", "0100000000", "0132000000", "0229000000"];
  for (const digits of [...impossible, "0431000000", "0101240000", "0101006000", "0101000060"]) {
    const element = { tag: TAG.utcTime, content: encodeLatin1(`99${digits}Z`) };
    assertThrows(() => decodeTime(element), RangeError, "", digits);
  }
  const leapDay = { tag: TAG.utcTime, content: encodeLatin1("960229000000Z") };
  assertEquals(decodeTime(leapDay).toISOString(), "1996-02-29T00:00:00.000Z");
  // Each form with the tag of the other form.
  const wrongTag = { tag: TAG.utcTime, content: encodeLatin1("20500101000000Z") };
  assertThrows(() => decodeTime(wrongTag), RangeError);
});

Deno.test("a truncated element is a RangeError, and is never read past its end", () => {
  const encoded = encodeDer(TAG.octetString, new Uint8Array(300).fill(7));
  for (let length = 0; length < encoded.length; length++) {
    // The bytes after the view in the same buffer are not part of it.
    assertThrows(() => new DerReader(encoded.subarray(0, length)).readElement(), RangeError);
  }
});
