/** Creating certificates, and the names that they can contain. */
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
import { derOf, hasSubjectName } from "./certificates.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { ignoreUnlessInstalled, runWithInput } from "./tls_openssl.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { createPrivateKey, X509Certificate } from "node:crypto";

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
    [
      "a long organization",
      ofAuthority({ commonName: "a", organization: "b".repeat(65) }),
      RangeError,
      "got 65",
    ],
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
