/** Certificates as they are created, before they are written to files, and the names that they can be issued for. */
import { quote } from "@degu/internal/base/quote.ts";
import {
  createAuthority,
  createLeaf,
  type LeafProfile,
  parseAlternativeName,
  renewLeaf,
} from "@degu/internal/identity/certificates.ts";
import { parseCertificate, PURPOSE } from "@degu/internal/net/tls/certificate.ts";
import { assertNear, covers, derOf } from "@degu/testing/certificates.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { createPrivateKey, X509Certificate } from "node:crypto";
import * as x509 from "npm:@peculiar/x509@^1.14.3";

const DAY = 24 * 60 * 60 * 1000;

const profile: LeafProfile = {
  subject: { commonName: "device" },
  usages: ["serverAuth", "clientAuth"],
  alternativeNames: [{ type: "dns", value: "device.local" }, { type: "ip", value: "::1" }],
  days: 5,
};

const authority = await createAuthority({ commonName: "authority" }, 10);

Deno.test("an authority signs leaves, and no further authority", () => {
  const { certificate, privateKey } = authority;
  const own = new X509Certificate(certificate);
  assert(own.ca && own.verify(own.publicKey) && own.checkPrivateKey(createPrivateKey(privateKey)));
  const { pathLength, maySignCertificates, maySign } = parseCertificate(derOf(certificate));
  assertEquals([pathLength, maySignCertificates, maySign], [0, true, false]);
});

Deno.test("a certificate has the key, the usages and the names that were requested", async () => {
  const leaf = await createLeaf(authority, profile);
  const own = new X509Certificate(leaf.certificate);
  assert(own.verify(new X509Certificate(authority.certificate).publicKey));
  assert(!own.ca && own.checkPrivateKey(createPrivateKey(leaf.privateKey)));
  for (const name of ["device.local", "::1"]) assert(covers(own, name), name);
  const { names, purposes } = parseCertificate(derOf(leaf.certificate));
  assertEquals(names?.length, 2);
  assertEquals(purposes, [PURPOSE.serverAuth, PURPOSE.clientAuth]);
  const nameless = await createLeaf(authority, { ...profile, alternativeNames: [] });
  assertEquals(parseCertificate(derOf(nameless.certificate)).names, null);
});

Deno.test("what a certificate may be used for is critical in it, and nothing else is", async () => {
  const leaf = await createLeaf(authority, profile);
  // RFC 5280 §4.2.1: basicConstraints, keyUsage; extKeyUsage, identifiers of keys, subjectAltName.
  const rows: [pem: string, critical: string[], others: string[]][] = [
    [authority.certificate, ["19", "15"], ["14"]],
    [leaf.certificate, ["19", "15"], ["37", "14", "35", "17"]],
  ];
  for (const [pem, critical, others] of rows) {
    const all = [...new x509.X509Certificate(pem).extensions];
    const oids = (isCritical: boolean) =>
      all.filter((each) => each.critical === isCritical).map(({ type }) =>
        type.slice("2.5.29.".length)
      );
    assertEquals([oids(true), oids(false)], [critical, others]);
  }
});

Deno.test("a certificate starts a day in the past, and never outlives its authority", async () => {
  const authority = await createAuthority({ commonName: "authority" }, 10);
  for (const [days, expected] of [[5, 5], [10, 10], [100, 10]] as const) {
    const { certificate } = await createLeaf(authority, { ...profile, days });
    const { validFrom, validTo } = parseCertificate(derOf(certificate));
    assertNear(validFrom.getTime(), Date.now() - DAY);
    assertNear(validTo.getTime(), Date.now() + expected * DAY);
    const limit = parseCertificate(derOf(authority.certificate)).validTo;
    assert(validTo.getTime() <= limit.getTime());
  }
});

Deno.test("a renewed certificate has the same key and a new serial", async () => {
  const old = await createLeaf(authority, profile);
  const renewed = await renewLeaf(authority, old.certificate, { ...profile, days: 8 });
  const [before, after] = [new X509Certificate(old.certificate), new X509Certificate(renewed)];
  assert(after.checkPrivateKey(createPrivateKey(old.privateKey)));
  assertEquals(after.subject, before.subject);
  assertNotEquals(after.serialNumber, before.serialNumber);
  assertNear(Date.parse(after.validTo), Date.now() + 8 * DAY);
});

Deno.test("no character of a name is interpreted as syntax", async () => {
  const name = 'a, CN=b+O=c"<>;#=/';
  const { certificate } = await createLeaf(authority, {
    ...profile,
    subject: { commonName: name, organization: "x, CN=root" },
  });
  const { subject } = parseCertificate(derOf(certificate));
  assertEquals(subject, `O=x, CN=root\nCN=${name}`);
});

Deno.test("serials are random positive numbers of 16 bytes", async () => {
  const pairs = await Promise.all(Array.from({ length: 20 }, () => createLeaf(authority, profile)));
  const serials = pairs.map(({ certificate }) => new X509Certificate(certificate).serialNumber);
  for (const serial of serials) assertMatch(serial, /^[4-7][0-9A-F]{31}$/);
  assertEquals(new Set(serials).size, 20);
  const first = new Set(serials.map((serial) => parseInt(serial.slice(0, 2), 16)));
  assert(first.size > 3 && [...first].some((byte) => byte % 2 === 0), [...first].join());
});

Deno.test("a DNS name is converted to lower case, and an IP address to its canonical form", () => {
  const dns = (name: string, value: string) =>
    assertEquals(parseAlternativeName("name", name), { type: "dns", value });
  fc.assert(fc.property(fc.domain(), (name) => {
    for (const given of [name, name.toUpperCase()]) dns(given, name.toLowerCase());
  }));
  const label = "a".repeat(63);
  for (const name of ["localhost", "camera-1.local", "1a", "a.1b", label, `${label}.b`]) {
    dns(name, name);
  }
  const addresses = {
    "192.168.7.2": "192.168.7.2",
    "FE80::1": "fe80::1",
    "0:0:0:0:0:0:0:1": "::1",
    "::ffff:1.2.3.4": "::ffff:102:304",
  };
  for (const [given, value] of Object.entries(addresses)) {
    assertEquals(parseAlternativeName("name", given), { type: "ip", value });
  }
});

Deno.test("a name that a certificate can't contain is a RangeError that quotes it", () => {
  const long = [...new Array(4).fill("a".repeat(63))].join(".");
  const wrong = ["", ".", "a.", ".a", "a..b", "*.a", "a_b", "-a", "a-", "a b", "a/b", "a:1", "ä"];
  const numbers = ["1.2.3", "256.1.1.1", "a.1", "1", "0x7f.1", "[::1]", "fe80::1%eth0", "::g"];
  // The Kelvin sign becomes a k in lower case.
  for (const text of [...wrong, ...numbers, long, "a".repeat(64), "\u212a", "a\0", "a\n", "a,b"]) {
    const { message } = assertThrows(() => parseAlternativeName("name", text), RangeError);
    assertStringIncludes(message, quote(text));
  }
});
