/** Handshakes in which certificates lead to two authorities, to a forged one, or to none. */
import { assertEquals, assertRejects } from "@std/assert";
import { TlsError } from "@degu/degu/base";
import { SSLClient } from "@degu/degu/client";
import { Authorities, readCertificate } from "@degu/internal/net/tls/authority.ts";
import { checkCertificate, findNameProblem } from "@degu/internal/net/tls/peer.ts";
import { encodeDer, TAG } from "@degu/internal/net/tls/der.ts";
import { EXTENSIONS, makeAuthority, makeLeaf, type TestAuthority } from "./authorities.ts";
import {
  encode,
  type KeyPair,
  KeyRing,
  makeCertificate,
  ODDITIES,
  type Oddity,
} from "./certificate_graphs.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { needsOpenssl, ServingProgram } from "./tls_openssl.ts";
import { join } from "@std/path";
import { serveNodeTls, startTls } from "@degu/testing/tls_endpoints.ts";
import { testEachRow } from "@degu/testing/rows.ts";

const ROLES = ["client", "server"] as const;
type Role = typeof ROLES[number];

const otherAuthority = makeAuthority();
const otherLeaf = makeLeaf(otherAuthority);

function joinPem(certificates: readonly TestAuthority[]): string {
  return certificates.map(({ pem }) => pem).join("");
}

/** Returns the authority of a peer, as the other end reports it; `null` if the peer is refused. */
async function findReportedAuthority(
  role: Role,
  chain: readonly TestAuthority[],
  trusted: readonly TestAuthority[],
): Promise<Uint8Array | null> {
  const peer = { cert: joinPem(chain), key: chain[0]!.keyPem, ca: otherAuthority.pem };
  const verifier = {
    cert: otherLeaf.pem,
    key: otherLeaf.keyPem,
    ca: trusted.map(({ pem }) => pem),
  };
  const [client, server] = role === "client" ? [peer, verifier] : [verifier, peer];
  await using endpoint = await startTls(
    { serverSslconfig: server, clientSslconfig: { ...client, checkHostname: false } },
    (_request, { peerCertificate }) => [200, "OK", {}, peerCertificate!.authority!.raw],
  );
  try {
    using conn = await endpoint.client.connect();
    const { body } = await conn.get("/");
    return role === "client" ? await body!.bytes() : conn.sock.peerCertificate!.authority!.raw;
  } catch (error) {
    if (role === "server" && error instanceof TlsError && error.code === "UNTRUSTED") return null;
    await endpoint.logger.waitFor("info", "UNTRUSTED");
    return null;
  }
}

Deno.test("a path that breaks the pathlen of an intermediate doesn't lead to its authority, in any order of the authorities", async (t) => {
  const [a, b] = [makeAuthority(), makeAuthority()];
  const limited = makeAuthority({ issuer: b, extensions: [EXTENSIONS.authority(0)] });
  const unlimited = makeAuthority({ issuer: a });
  const ofLimited = makeAuthority({ issuer: limited });
  const { keys, name } = ofLimited;
  const ofUnlimited = makeAuthority({ issuer: unlimited, keys, name });
  const leaf = makeLeaf(ofLimited);
  const intermediates = [limited, ofLimited, unlimited, ofUnlimited];
  type Row = [string, Role, TestAuthority[], TestAuthority[], TestAuthority | null];
  const rows = ROLES.flatMap((role): Row[] => [
    [`${role}: [B, A]`, role, [b, a], intermediates, a],
    [`${role}: [A, B]`, role, [a, b], intermediates, a],
    [`${role}: [B, A], sent in reverse order`, role, [b, a], intermediates.toReversed(), a],
    [`${role}: [B]`, role, [b], intermediates, null],
    [`${role}: [B, A], without the path to A`, role, [b, a], [limited, ofLimited], null],
  ]);
  await testEachRow(t, rows, async (_name, role, trusted, sent, expected) => {
    const authority = await findReportedAuthority(role, [leaf, ...sent], trusted);
    assertEquals(authority, expected?.der ?? null);
  });
});

// ───────────────────────── certificates that Deno takes for verified

const keyRing = new KeyRing();
const [root, intermediate, forger, leafEntity] = ["root", "intermediate", "root", "leaf"].map(
  (name, index) => ({ name, keys: keyRing.get("P-256", index) }),
);

function formatPem(...certificates: readonly Uint8Array[]): string {
  return certificates.map((der) =>
    `-----BEGIN CERTIFICATE-----\n${der.toBase64()}\n-----END CERTIFICATE-----\n`
  ).join("");
}

Deno.test("a server with a forged path is refused, even if node:tls takes it for verified", async (t) => {
  const rootDer = makeCertificate({ ...root!, isAuthority: true });
  const signed = { ...leafEntity!, isAuthority: false };
  const issued = makeCertificate({ ...signed, issuer: intermediate! });
  const forge = (...oddities: string[]) =>
    makeCertificate({ ...intermediate!, issuer: forger!, isAuthority: true, oddities });
  // node:tls of Deno 2.9.6 sets `authorized` for all of these paths but the last two.
  const rows: readonly (readonly [string, readonly Uint8Array[]])[] = [
    ["a leaf of version 1", [
      makeCertificate({ ...signed, issuer: forger!, oddities: ["version 1"] }),
    ]],
    ...["version 1", "version 1 with extensions", "a byte after the certificate", "a long length"]
      .map((oddity) => [`an intermediate with ${oddity}`, [issued, forge(oddity)]] as const),
    ["an intermediate", [issued, forge()]],
    ["a leaf", [makeCertificate({ ...signed, issuer: forger! })]],
  ];
  const key = `${leafEntity!.keys.privateKey.export({ type: "pkcs8", format: "pem" })}`;
  await testEachRow(t, rows, async (_name, chain) => {
    await using server = await serveNodeTls({ cert: formatPem(...chain), key }, () => {});
    const sslconfig = { ca: formatPem(rootDer), checkHostname: false };
    const client = new SSLClient(sslconfig, server.address, { timeout: 60 });
    const error = await assertRejects(() => client.connect(), TlsError);
    assertEquals(error.code, "UNTRUSTED");
  });
});

/** Makes a PEM text of a private key with the public key of another, which openssl uses. */
function formatMismatchedKey(publicKey: KeyPair, { privateKey }: KeyPair): string {
  const decode = (value: string | undefined) =>
    Uint8Array.fromBase64(value!, { alphabet: "base64url" });
  const { x, y } = publicKey.publicKey.export({ format: "jwk" });
  const { d } = privateKey.export({ format: "jwk" });
  const der = encode(
    0x30, // ECPrivateKey (RFC 5915 §3), on P-256
    Uint8Array.of(2, 1, 1),
    encode(4, decode(d)),
    encode(0xa0, Uint8Array.fromHex("06082a8648ce3d030107")),
    encode(0xa1, encode(3, Uint8Array.of(0, 4), decode(x), decode(y))),
  );
  return `-----BEGIN EC PRIVATE KEY-----\n${der.toBase64()}\n-----END EC PRIVATE KEY-----\n`
    .replaceAll(/.{64}(?=.)/g, "$&\n");
}

function withExtension(hex: string): Oddity {
  return { fields: ({ extensions }) => void extensions.push(Uint8Array.fromHex(hex)) };
}

Deno.test(
  "a server without the key of its certificate is refused, even if the TLS library can't read the certificate",
  needsOpenssl,
  async (t) => {
    await using dir = await createTempDir();
    const [certFile, keyFile] = ["cert.pem", "key.pem"].map((name) => join(dir.path, name));
    await Deno.writeTextFile(keyFile!, formatMismatchedKey(leafEntity!.keys, forger!.keys));
    const ca = formatPem(makeCertificate({ ...root!, isAuthority: true }));
    // The library can read the first certificate, and refuses the signature of the handshake.
    const rows: readonly (readonly [string, Oddity])[] = [
      ["an ordinary certificate", {}],
      ["unique identifiers", ODDITIES["unique identifiers"]!],
      ["nameConstraints in a set", withExtension("30100603551d1e04093107a0053003820161")],
      ["cRLDistributionPoints in a set", withExtension("30090603551d1f04023100")],
      ["version 1", ODDITIES["version 1"]!],
    ];
    await testEachRow(t, rows, async (_name, oddity) => {
      const options = { ...leafEntity!, issuer: root!, isAuthority: false, oddities: [oddity] };
      await Deno.writeTextFile(certFile!, formatPem(makeCertificate(options)));
      const { program, port } = await ServingProgram.startOpenssl(
        ["-cert", certFile!, "-key", keyFile!],
      );
      await using _program = program;
      const client = new SSLClient({ ca, checkHostname: false }, ["127.0.0.1", port], {
        timeout: 60,
      });
      const error = await assertRejects(() => client.connect(), TlsError);
      assertEquals(error.code, "UNTRUSTED");
    });
  },
);

// ───────────────────────── critical extensions, names and changed bytes

/** Each kind of extension, critical, with a value that is allowed. */
const CRITICAL: readonly (readonly [oddity: string, isSupported: boolean])[] = [
  ["a critical subject key identifier", false],
  ["a critical authority key identifier", false],
  ["critical names", true],
  ["a critical purpose", true],
  ["critical name constraints", true],
  ["critical policies", false],
  ["an unknown critical extension", false],
];

Deno.test("each critical extension in a leaf is refused, unless the TLS library supports it", () => {
  for (const [oddity, isSupported] of CRITICAL) {
    const leaf = readCertificate(
      makeCertificate({ ...leafEntity!, issuer: root!, isAuthority: false, oddities: [oddity] }),
    );
    for (const role of ROLES) {
      let code: string | null = null;
      try {
        checkCertificate(role, leaf);
      } catch (error) {
        code = (error as TlsError).code;
      }
      assertEquals(code, isSupported ? null : "UNTRUSTED", `${oddity}, ${role}`);
    }
  }
});

function findAuthority(leaf: Uint8Array, sent: readonly Uint8Array[], trusted: Uint8Array) {
  const authorities = new Authorities([readCertificate(trusted)]);
  return authorities.findAuthority(readCertificate(leaf), sent, "clientAuth");
}

Deno.test("a certificate with 2,000 names is read, and is for each of them", () => {
  const names = Array.from({ length: 2000 }, (_, index) => `device-${index}.example`);
  const elements = names.map((name) => encodeDer(0x82, new TextEncoder().encode(name)));
  const alternativeNames = encodeDer(TAG.sequence, ...elements);
  const authority = makeAuthority();
  const { der } = makeAuthority({
    issuer: authority,
    extensions: [EXTENSIONS.alternativeNames(alternativeNames)],
  });
  const certificate = readCertificate(der);
  assertEquals(certificate.names?.length, 2000);
  for (const name of names) assertEquals(findNameProblem(certificate, name), null);
  assertEquals(findNameProblem(certificate, "device-2000.example") === null, false);
  assertEquals(findAuthority(der, [], authority.der)?.raw, authority.der);
});

Deno.test("a certificate of a path that was changed in any byte leads to no authority", () => {
  const rootDer = makeCertificate({ ...root!, isAuthority: true });
  const between = makeCertificate({ ...intermediate!, issuer: root!, isAuthority: true });
  const leaf = makeCertificate({ ...leafEntity!, issuer: intermediate!, isAuthority: false });
  assertEquals(findAuthority(leaf, [between], rootDer)?.raw, rootDer);
  const isAccepted = (changedLeaf: Uint8Array, changedBetween: Uint8Array) => {
    try {
      return findAuthority(changedLeaf, [changedBetween], rootDer) !== null;
    } catch (error) {
      if (error instanceof RangeError) return false;
      throw error;
    }
  };
  for (let index = 0; index < leaf.length; index++) {
    const changed = leaf.with(index, leaf[index]! ^ 1);
    assertEquals(isAccepted(changed, between), false, `leaf ${index}`);
  }
  for (let index = 0; index < between.length; index++) {
    const changed = between.with(index, between[index]! ^ 1);
    assertEquals(isAccepted(leaf, changed), false, `intermediate ${index}`);
  }
});

Deno.test("a critical extension that isn't checked, in an intermediate or an authority, ends the path", () => {
  for (const [oddity] of CRITICAL) {
    const make = (oddities: string[]) =>
      makeCertificate({ ...intermediate!, issuer: root!, isAuthority: true, oddities });
    const rootDer = makeCertificate({ ...root!, isAuthority: true });
    const leaf = makeCertificate({ ...leafEntity!, issuer: intermediate!, isAuthority: false });
    const isChecked = !/constraints|policies|unknown/.test(oddity);
    const authority = findAuthority(leaf, [make([oddity])], rootDer);
    assertEquals(authority !== null, isChecked, oddity);
  }
  assertEquals(CRITICAL.every(([oddity]) => oddity in ODDITIES), true);
});
