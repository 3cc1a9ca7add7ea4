/**
 * Finding the authority that signed a peer's certificate, and the limits in certificates of trusted
 * authorities, which the TLS library ignores.
 */
import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { join } from "@std/path";
import fc from "fast-check";
import { X509Certificate } from "node:crypto";
import type { PeerAuthority, PeerCertificate } from "@degu/degu/base";
import { buildClientSslctx, TlsError } from "@degu/degu/client";
import { buildServerSslctx, type ServerSslconfig } from "@degu/degu/server";
import { Authorities, readCertificate } from "@degu/internal/net/tls/authority.ts";
import {
  type Deviation,
  EXTENSIONS,
  makeAuthority,
  makeLeaf,
  type TestAuthority,
} from "./authorities.ts";
import { readStatedNumber } from "@degu/testing/project_files.ts";
import { hashPublicKey } from "./certificates.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import {
  formatTimeFromNow,
  type IssuedCertificate,
  KEY,
  needsOpenssl,
  OpensslPki,
  runWithInput,
} from "./tls_openssl.ts";

/** Reads certificates as one PEM text. */
async function readPem(...certificates: readonly IssuedCertificate[]): Promise<string> {
  const texts = await Promise.all(certificates.map(({ certFile }) => Deno.readTextFile(certFile)));
  return texts.join("");
}

/** Asserts the authority that a session reports. */
async function assertAuthority(
  actual: PeerAuthority | null | undefined,
  expected: IssuedCertificate,
): Promise<void> {
  const certificate = new X509Certificate(await readPem(expected));
  assertEquals(actual?.fingerprint256, certificate.fingerprint256);
  assertEquals(actual?.subject, certificate.subject);
  assertEquals(actual?.raw, new Uint8Array(certificate.raw));
  assertEquals(actual?.publicKey256, hashPublicKey(await readPem(expected)));
}

/** A certificate with its intermediates, as a peer sends it. */
interface Identity {
  readonly certificate: IssuedCertificate;
  readonly intermediates?: readonly IssuedCertificate[];
}

/** Makes a configuration with an identity and trusted authorities. */
async function makeConfig(
  { certificate, intermediates = [] }: Identity,
  authorities: readonly IssuedCertificate[],
) {
  const ca = await Promise.all(authorities.map((each) => readPem(each)));
  return {
    cert: await readPem(certificate, ...intermediates),
    key: await Deno.readTextFile(certificate.keyFile),
    ca,
  };
}

/** The certificates that a client and a server present, and the authorities that each trusts. */
type Setup =
  & Record<"server" | "client", Identity>
  & Record<"clientAuthorities" | "serverAuthorities", readonly IssuedCertificate[]>;

/** Connects a client to a server; returns the result of each. */
async function connectPeers(
  setup: Setup,
): Promise<{ server: PeerCertificate; client: PeerCertificate }> {
  const certificates: (PeerCertificate | null)[] = [];
  const clientSslconfig = await makeConfig(setup.client, setup.serverAuthorities);
  await using endpoint = await startTls({
    serverSslconfig: await makeConfig(setup.server, setup.clientAuthorities),
    clientSslconfig: { ...clientSslconfig, checkHostname: false },
  }, (_request, session) => {
    certificates.push(session.peerCertificate);
    return [204, "No Content", {}, null];
  });
  using conn = await endpoint.client.connect();
  assertEquals((await conn.get("/")).status, 204);
  return { server: conn.sock.peerCertificate!, client: certificates[0]! };
}

Deno.test("both ends report which authority signed for the other", needsOpenssl, async () => {
  await using pki = await OpensslPki.create();
  const authority = await pki.createAuthority("authority");
  const otherAuthority = await pki.createAuthority("other");
  const client = await pki.createClientCertificate("client", { issuer: authority });
  const server = await pki.createServerCertificate("server", { issuer: otherAuthority });
  const renewed = await pki.createClientCertificate("renewed", {
    issuer: authority,
    keyOf: client,
  });
  const setup = {
    server: { certificate: server },
    clientAuthorities: [otherAuthority, authority],
    serverAuthorities: [authority, otherAuthority],
  };
  const first = await connectPeers({ client: { certificate: client }, ...setup });
  await assertAuthority(first.client.authority, authority);
  await assertAuthority(first.server.authority, otherAuthority);
  assertEquals(first.client.publicKey256, hashPublicKey(await readPem(client)));
  assertEquals(first.server.publicKey256, hashPublicKey(await readPem(server)));
  assert(Object.isFrozen(first.client.authority));
  const second = await connectPeers({ client: { certificate: renewed }, ...setup });
  assertEquals(second.client.publicKey256, first.client.publicKey256);
  assertNotEquals(second.client.fingerprint256, first.client.fingerprint256);
  await assertAuthority(second.client.authority, authority);
});

Deno.test(
  "both ends trust an authority before its first day and after its last",
  needsOpenssl,
  async () => {
    await using pki = await OpensslPki.create();
    const [expired, notYetValid] = await Promise.all([
      pki.createAuthority("old", { to: formatTimeFromNow(-1) }),
      pki.createAuthority("early", { from: formatTimeFromNow(1) }),
    ]);
    for (const [name, authority] of Object.entries({ old: expired, early: notYetValid })) {
      const client = await pki.createClientCertificate(`client_${name}`, { issuer: authority });
      const server = await pki.createServerCertificate(`server_${name}`, { issuer: authority });
      const peers = await connectPeers({
        client: { certificate: client },
        server: { certificate: server },
        clientAuthorities: [authority],
        serverAuthorities: [authority],
      });
      await assertAuthority(peers.client.authority, authority);
      await assertAuthority(peers.server.authority, authority);
    }
  },
);

Deno.test(
  "the error for a peer whose dates may be the reason has the time of this device, and the dates of a trusted authority that is not valid then",
  needsOpenssl,
  async () => {
    await using pki = await OpensslPki.create();
    const past = { to: formatTimeFromNow(-1) };
    const authority = await pki.createAuthority("old", past);
    const server = await pki.createServerCertificate("old_server", { issuer: authority, ...past });
    await using endpoint = await startTls({
      serverSslconfig: { ...server, allowUnauthenticatedClients: true },
      clientSslconfig: { caFile: authority.certFile, checkHostname: false },
    }, () => [200, "OK", {}, null]);
    const { client } = endpoint;
    const { message } = await assertRejects(() => client.connect(), TlsError);
    const year = new Date().getFullYear();
    const dates =
      /; the trusted authority "CN=old" has expired: it is valid from (\S+) to (\S+), and the clock of this device says (\S+)$/;
    const [, from = "", to = "", now = ""] = dates.exec(message) ?? [];
    assert(from < to && to < now && now.startsWith(`${year}-`), message);
  },
);

Deno.test("the authority is found by signatures, not by names", needsOpenssl, async (t) => {
  await using pki = await OpensslPki.create();
  const ownAuthority = await pki.createAuthority("server_authority");
  const serverCertificate = await pki.createServerCertificate("server", { issuer: ownAuthority });
  const authority1 = await pki.createAuthority("one", { commonName: "same" });
  const authority2 = await pki.createAuthority("two", { commonName: "same" });
  const authority3 = await pki.createAuthority("three");
  const sameKey = await pki.createAuthority("same_key", { commonName: "same", keyOf: authority2 });
  const intermediate = await pki.createAuthority("intermediate", { issuer: authority1 });
  const cross = { commonName: "intermediate", keyOf: intermediate };
  const crossCertificate = await pki.createAuthority("crossed", { issuer: authority3, ...cross });
  const expiredIntermediate = await pki.createAuthority("old", {
    issuer: authority2,
    ...cross,
    to: formatTimeFromNow(-1),
  });
  const clientOfAuthority2 = await pki.createClientCertificate("of_two", { issuer: authority2 });
  const clientOfIntermediate = await pki.createClientCertificate("below", { issuer: intermediate });
  const purpose = "extendedKeyUsage=clientAuth";
  const unhinted = await pki.createClientCertificate("unhinted", {
    issuer: authority2,
    extensions: [purpose, "authorityKeyIdentifier=none"],
  });
  // [0] of the extension is the identifier of the key, in this case of another authority.
  const [, keyId] = /X509v3 Subject Key Identifier:\s+([0-9A-F:]{59})\n/
    .exec(await pki.show(authority1)) ?? [];
  const misleading = await pki.createClientCertificate("misleading", {
    issuer: authority2,
    extensions: [purpose, `2.5.29.35=DER:30:16:80:14:${keyId}`],
  });
  type Row = [string, Identity, readonly IssuedCertificate[], IssuedCertificate];
  const ofAuthority2 = { certificate: clientOfAuthority2 };
  const below = (...intermediates: IssuedCertificate[]): Identity => {
    return { certificate: clientOfIntermediate, intermediates };
  };
  const bothPaths = below(intermediate, crossCertificate);
  const namesakes = [
    ["two authorities of one name", clientOfAuthority2],
    ["no authority key identifier", unhinted],
    ["the key identifier of another authority", misleading],
  ] as const;
  const rows: readonly Row[] = [
    ...namesakes.flatMap(([name, certificate]): Row[] => [
      [name, { certificate }, [authority1, authority2], authority2],
      [`${name}, in reverse order`, { certificate }, [authority2, authority1], authority2],
    ]),
    [
      "the other authority is sent with the leaf",
      { ...ofAuthority2, intermediates: [authority1] },
      [authority1, authority2],
      authority2,
    ],
    [
      "one key in two certificates: the first",
      ofAuthority2,
      [authority1, sameKey, authority2],
      sameKey,
    ],
    [
      "one key in two certificates, in reverse order",
      ofAuthority2,
      [authority2, sameKey],
      authority2,
    ],
    ["an intermediate", below(intermediate), [authority2, authority1], authority1],
    [
      "an intermediate among unrelated certificates",
      below(authority2, serverCertificate, intermediate, authority1),
      [authority3, authority1],
      authority1,
    ],
    ["two paths: the first", bothPaths, [authority3, authority1], authority3],
    ["two paths, in reverse order", bothPaths, [authority1, authority3], authority1],
    [
      "a path that has expired",
      below(expiredIntermediate, intermediate),
      [authority2, authority1],
      authority1,
    ],
    ["the shortest path", below(intermediate), [authority1, intermediate], intermediate],
  ];
  const server = { certificate: serverCertificate };
  const serverAuthorities = [ownAuthority];
  await testEachRow(t, rows, async (_name, client, clientAuthorities, expected) => {
    const peers = await connectPeers({ server, client, clientAuthorities, serverAuthorities });
    await assertAuthority(peers.client.authority, expected);
  });
});

Deno.test("each kind of signature that TLS accepts is verified", needsOpenssl, async (t) => {
  await using pki = await OpensslPki.create();
  const pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"];
  const kinds: readonly [string, readonly string[], readonly string[]][] = [
    ["ECDSA P-256", KEY.p256, []],
    ["ECDSA P-384 with SHA-384", KEY.p384, ["-sha384"]],
    ["ECDSA P-521 with SHA-512", KEY.p521, ["-sha512"]],
    ["Ed25519", KEY.ed25519, []],
    ["RSA", KEY.rsa2048, []],
    ["RSA with SHA-512", KEY.rsa2048, ["-sha512"]],
    ["RSA-PSS", KEY.rsa2048, pss],
    ["RSA-PSS with SHA-384", KEY.rsa2048, [...pss, "-sha384"]],
  ];
  const serverAuthority = await pki.createAuthority("server_authority");
  const server = {
    certificate: await pki.createServerCertificate("server", { issuer: serverAuthority }),
  };
  for (const [index, [name, key, signOptions]] of kinds.entries()) {
    await t.step(name, async () => {
      // An authority that signs with P-521 is also self-signed with SHA-512.
      const issuer = await pki.createAuthority(`issuer${index}`, {
        key,
        signOptions: key === KEY.p521 ? signOptions : [],
      });
      const clientCertificate = await pki.createClientCertificate(`client${index}`, {
        issuer,
        signOptions,
      });
      const peers = await connectPeers({
        server,
        client: { certificate: clientCertificate },
        clientAuthorities: [serverAuthority, issuer],
        serverAuthorities: [serverAuthority],
      });
      await assertAuthority(peers.client.authority, issuer);
    });
  }
});

Deno.test("P-521 with SHA-256, which can't be verified, is refused", needsOpenssl, async (t) => {
  await using pki = await OpensslPki.create();
  const key = KEY.p521;
  const serverAuthority = await pki.createAuthority("server_authority");
  const serverCertificate = await pki.createServerCertificate("server", {
    issuer: serverAuthority,
  });
  const advice =
    "signed with SHA-256 by a key on P-521, which can't be verified: sign it with SHA-512";
  await t.step("as an authority", async () => {
    const { certFile: caFile } = await pki.createAuthority("refused", { key });
    assertThrows(() => buildServerSslctx({ ...serverCertificate, caFile }), RangeError, advice);
    assertThrows(() => buildClientSslctx({ caFile }), RangeError, advice);
  });
  const authority = await pki.createAuthority("authority", { key, signOptions: ["-sha512"] });
  await t.step(
    "as an authority's signature on another authority, which is not verified",
    async () => {
      const intermediate = await pki.createAuthority("intermediate", {
        issuer: authority,
        signOptions: ["-sha256"],
      });
      buildClientSslctx({ caFile: intermediate.certFile });
    },
  );
  await t.step("as a client's signature", async () => {
    const client = await pki.createClientCertificate("client", {
      issuer: authority,
      signOptions: ["-sha256"],
    });
    const clientSslconfig = { caFile: serverAuthority.certFile, checkHostname: false, ...client };
    assertStringIncludes(buildClientSslctx(clientSslconfig).warnings.join(), advice);
    await using endpoint = await startTls(
      { serverSslconfig: { ...serverCertificate, caFile: authority.certFile }, clientSslconfig },
      () => [204, "No Content", {}, null],
    );
    await assertRejects(() => endpoint.client.request("GET", "/"));
    const [line] = await endpoint.logger.waitFor("info");
    assertStringIncludes(line!, `UNTRUSTED: the client's certificate is ${advice}`);
  });
});

function makeAuthorities(trusted: readonly TestAuthority[]): Authorities {
  return new Authorities(trusted.map(({ der }) => readCertificate(der)));
}

/** Asserts the authority that is found for the first certificate. */
function assertFound(
  [leaf, ...intermediates]: readonly TestAuthority[],
  trusted: readonly TestAuthority[],
  expected: TestAuthority | null,
  label = "",
  authorities = makeAuthorities(trusted),
): void {
  const sent = intermediates.map(({ der }) => der);
  const actual = authorities.findAuthority(readCertificate(leaf!.der), sent, "clientAuth");
  assertEquals(actual?.raw, expected?.der, label);
}

const { authority, noAuthority, signsCertificates, signsLists, signsHandshakes, enciphers } =
  EXTENSIONS;

Deno.test("an authority with rules that are not checked is refused, and no path contains such an authority", () => {
  const [authority1, authority2] = [makeAuthority(), makeAuthority()];
  const { pem: cert, keyPem: key } = makeLeaf(authority1);
  const { nameConstraints, unknown } = EXTENSIONS;
  const rules = [
    ["2.5.29.30", nameConstraints(true)],
    ["2.5.29.30", nameConstraints(false)],
    ["1.3.6.1.4.1.99999.1", unknown(true)],
  ] as const;
  for (const [extension, rule] of rules) {
    const extensions = [authority(), rule];
    const intermediate = makeAuthority({ issuer: authority1, extensions });
    const { keys, name } = intermediate;
    const crossCertificate = makeAuthority({ issuer: authority2, keys, name, extensions });
    const unlimitedAuthority = makeAuthority({ issuer: authority2, keys, name });
    const leaf = makeLeaf(intermediate);
    assertFound([leaf, intermediate], [authority1], null, "the only way");
    assertFound(
      [leaf, intermediate, crossCertificate],
      [authority1, authority2],
      null,
      "two ways to two authorities",
    );
    assertFound(
      [leaf, intermediate, unlimitedAuthority],
      [authority1, authority2],
      authority2,
      "one of the ways has none",
    );
    const message = `has an extension that can't be checked, ${extension}: `;
    for (const { pem: ca } of [makeAuthority({ extensions }), intermediate]) {
      assertThrows(() => buildServerSslctx({ cert, key, ca }), RangeError, message);
      assertThrows(() => buildClientSslctx({ ca }), RangeError, message);
    }
  }
  // An unknown extension that isn't critical has no effect.
  const uncritical = makeAuthority({ extensions: [authority(), unknown(false)] });
  buildServerSslctx({ cert, key, ca: uncritical.pem });
});

Deno.test("among 131 authorities of the same name the authority of each client is found, and more than 100 cause a warning", async () => {
  const authorities = Array.from(
    { length: 131 },
    () => makeAuthority({ name: "same", key: "Ed25519" }),
  );
  const [serverLeaf, client, last] = [0, 99, 130].map((index) => makeLeaf(authorities[index]!));
  assertFound([serverLeaf!], authorities, authorities[0]!);
  assertFound([last!], authorities, authorities[130]!);
  const [identity, ca] = [
    { cert: serverLeaf!.pem, key: serverLeaf!.keyPem },
    authorities.map(({ pem }) => pem),
  ];
  const serverSslconfig: ServerSslconfig = { ...identity, ca: ca.slice(0, 100) };
  assertEquals(buildServerSslctx(serverSslconfig).warnings, []);
  const { warnings } = buildServerSslctx({ ...identity, ca: ca.slice(0, 101) });
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0]!, '101 authorities have the name "CN=same"');
  const clientIdentity = { cert: client!.pem, key: client!.keyPem };
  const clientSslconfig = { ca: ca[0]!, ...clientIdentity, checkHostname: false };
  await using endpoint = await startTls({ serverSslconfig, clientSslconfig }, (_, session) => {
    return [200, "OK", {}, session.peerCertificate!.authority!.raw];
  });
  const { body } = await endpoint.client.request("GET", "/");
  assertEquals(await body!.bytes(), authorities[99]!.der);
});

Deno.test("no authority is found if no path is valid", () => {
  const root = makeAuthority();
  const namesake = makeAuthority({ name: root.name });
  const leaf = makeLeaf(root);
  const make = (deviation: Deviation) => {
    const intermediate = makeAuthority({ issuer: root, ...deviation });
    return [makeLeaf(intermediate), intermediate];
  };
  const key1 = makeAuthority();
  const circle2 = makeAuthority({ issuer: key1 });
  const circle1 = makeAuthority({ issuer: circle2, name: key1.name, keys: key1.keys });
  const shortPath = makeAuthority({ issuer: root, extensions: [authority(0)] });
  const tooDeep = makeAuthority({ issuer: shortPath });
  const forServers = [authority(), EXTENSIONS.isFor("serverAuth")];
  const makeWithUsage = (usage: ReturnType<typeof signsLists>) =>
    make({ extensions: [authority(), usage] });
  const rows: [string, TestAuthority[], TestAuthority[], TestAuthority | null][] = [
    ["a leaf that the authority signed", [leaf], [root], root],
    ["another authority of the same name", [leaf], [namesake], null],
    ["no trusted authority", [leaf], [], null],
    ["a leaf as its own authority", [leaf], [leaf], null],
    ["an intermediate is missing", make({}).slice(0, 1), [root], null],
    ["an intermediate", makeWithUsage(signsCertificates()), [root], root],
    ["an intermediate that may not sign certificates", makeWithUsage(signsLists()), [root], null],
    ["an intermediate that may only encipher", makeWithUsage(enciphers()), [root], null],
    ["an expired intermediate", make({ valid: [-2, -1] }), [root], null],
    ["an intermediate that is not valid yet", make({ valid: [1, 2] }), [root], null],
    ["a circle", [makeLeaf(circle1), circle1, circle2], [root], null],
    ["a leaf in between", [makeLeaf(leaf), leaf], [root], null],
    ["a sufficient pathlen", [makeLeaf(shortPath), shortPath], [root], root],
    ["an exceeded pathlen", [makeLeaf(tooDeep), tooDeep, shortPath], [root], null],
    ["an intermediate for servers only", make({ extensions: forServers }), [root], null],
    [
      "an intermediate that is no authority, without a keyUsage",
      make({ extensions: [noAuthority()] }),
      [root],
      null,
    ],
    ["an intermediate without basicConstraints", make({ extensions: [signsCertificates()] }), [
      root,
    ], null],
  ];
  for (const [label, chain, trusted, expected] of rows) {
    assertFound(chain, trusted, expected, label);
  }
  const [leafBelow, intermediate] = make({});
  const junk = [new Uint8Array(), Uint8Array.of(0x30, 0x80), intermediate!.der.slice(0, -1)]
    .map((der) => ({ ...root, der }));
  assertFound([leafBelow!, ...junk, intermediate!], [root], root, "unreadable ones are skipped");
});

Deno.test("at most as many signatures are verified for a peer as docs/security.md says", async () => {
  const limit = await readStatedNumber(
    "docs/security.md",
    /verifies at most (\d+) signatures\*\*, plus two for each/,
  );
  const root = makeAuthority({ key: "Ed25519" });
  const same = { name: "same", key: "Ed25519" } as const;
  const path = [makeAuthority({ issuer: root, ...same })];
  for (let i = 1; i < 6; i++) path.push(makeAuthority({ issuer: path.at(-1)!, ...same }));
  const leaf = makeLeaf(path.at(-1)!);
  const decoys = Array.from({ length: 21 }, () => makeAuthority(same));
  // Keys are tried in the order in which the certificates are sent, up to the right key: for the
  // leaf the keys of 18 decoys and six authorities; for each authority one fewer; and for the
  // topmost authority the key of the root.
  const signatureCount = 6 * 18 + 6 + 5 + 4 + 3 + 2 + 1 + 1;
  assertEquals(signatureCount, limit + 2);
  // A decoy before the last authority costs one more verification for the leaf.
  const rows: [trusted: TestAuthority[], maxExtraCount: number][] = [
    [[root], 0],
    [[root, makeAuthority({ key: "Ed25519" })], 2],
  ];
  for (const [trusted, maxExtraCount] of rows) {
    const makeChain = (extraCount: number) => {
      const extraDecoys = decoys.slice(18, 18 + extraCount);
      return [leaf, ...decoys.slice(0, 18), ...path.slice(0, -1), ...extraDecoys, path.at(-1)!];
    };
    const [found, refused] = [makeChain(maxExtraCount), makeChain(maxExtraCount + 1)];
    const label = `${maxExtraCount} more, ${trusted.length}`;
    assertFound(refused, trusted, null, `one more than ${label}`);
    const authorities = makeAuthorities(trusted);
    assertFound(found, trusted, root, label, authorities);
    assertFound(refused, trusted, root, `${label}: none is verified twice`, authorities);
  }
});

Deno.test("after other authorities are skipped, the remaining authority is not reported as the signer", () => {
  const victim = makeAuthority({ key: "P-521" });
  const attacker = makeAuthority();
  const trusted = [victim, attacker];
  // The TLS library accepts such a path, because it ignores keyUsage.
  const handshakes = [authority(), signsHandshakes()];
  const namesake = { issuer: attacker, name: victim.name };
  const intermediate = makeAuthority({ ...namesake, extensions: handshakes });
  assertFound([makeLeaf(intermediate), intermediate], trusted, null, "by its keyUsage");

  const signing = makeAuthority(namesake);
  const leaf = makeLeaf(signing);
  const junk = new Array(40).fill(makeLeaf(attacker));
  assertFound([leaf, ...junk, signing], trusted, null, "as one too many");
  assertFound([leaf, signing], trusted, attacker);

  const ruled = makeAuthority({
    issuer: attacker,
    extensions: [authority(), EXTENSIONS.nameConstraints(true)],
  });
  const { keys, name } = ruled;
  const otherAuthority = makeAuthority({ issuer: victim, keys, name, extensions: handshakes });
  const rules = "by the rules of another certificate of its key";
  assertFound([makeLeaf(ruled), ruled, otherAuthority], trusted, null, rules);
});

// ───────────────────────── limits of trusted authorities

type Role = "client" | "server";
const ROLES: readonly Role[] = ["client", "server"];

/** The extensions of an authority's certificate. */
interface Limits {
  readonly keyUsage?: "signsCertificates" | "signsLists" | undefined;
  readonly pathLength?: number | undefined;
  readonly isFor?: readonly ("clientAuth" | "serverAuth" | "any")[] | undefined;
  /** An extension that can't be checked. */
  readonly rule?: "nameConstraints" | "unknown" | undefined;
}

/** A peer's certificate, the intermediates, and the trusted authority, in this order. */
type Path = readonly [leaf: TestAuthority, ...TestAuthority[]];

/** Makes certificates; the first limits are for the trusted authority. */
function makePath(limits: readonly Limits[]): Path {
  let issuer: TestAuthority | undefined;
  const path: TestAuthority[] = [];
  for (const { keyUsage, pathLength, isFor, rule } of limits) {
    issuer = makeAuthority({
      ...(issuer === undefined ? {} : { issuer }),
      extensions: [
        EXTENSIONS.authority(pathLength),
        ...keyUsage === undefined ? [] : [EXTENSIONS[keyUsage]()],
        ...isFor === undefined ? [] : [EXTENSIONS.isFor(...isFor)],
        ...rule === undefined ? [] : [EXTENSIONS[rule](true)],
      ],
    });
    path.unshift(issuer);
  }
  return [makeLeaf(issuer!), ...path];
}

const unrelatedAuthority = makeAuthority();
const unrelatedLeaf = makeLeaf(unrelatedAuthority);

/**
 * Whether a peer with this path is accepted by a peer that trusts its last certificate and `more`.
 */
async function isAccepted(role: Role, path: Path, otherAuthorities: readonly TestAuthority[] = []) {
  const joinPem = (certificates: readonly TestAuthority[]) =>
    certificates.map(({ pem }) => pem).join("");
  const identity = { cert: joinPem(path.slice(0, -1)), key: path[0].keyPem };
  const peerIdentity = { cert: unrelatedLeaf.pem, key: unrelatedLeaf.keyPem };
  const trust = joinPem([path.at(-1)!, ...otherAuthorities]);
  const [client, server] = role === "client" ? [identity, peerIdentity] : [peerIdentity, identity];
  const serverSslconfig = { ...server, ca: role === "client" ? trust : unrelatedAuthority.pem };
  const ca = role === "server" ? trust : unrelatedAuthority.pem;
  const clientSslconfig = { ...client, ca, checkHostname: false };
  buildClientSslctx(clientSslconfig); // Check before a server is started.
  await using endpoint = await startTls(
    { serverSslconfig, clientSslconfig },
    () => [204, "No Content", {}, null],
  );
  try {
    return (await endpoint.client.request("GET", "/")).status === 204;
  } catch (error) {
    const reason = role === "server" && error instanceof TlsError
      ? error.code
      : (await endpoint.logger.waitFor("info"))[0]!;
    if (reason.includes("UNTRUSTED")) return false;
    throw error;
  }
}

const NONE: Limits = {};
const PATHS: readonly [string, readonly Limits[], Partial<Record<Role, true>>][] = [
  ["no limits", [NONE], { client: true, server: true }],
  ["pathlen:0, directly below", [{ pathLength: 0 }], { client: true, server: true }],
  ["pathlen:0, above an intermediate", [{ pathLength: 0 }, NONE], {}],
  ["pathlen:1, above one intermediate", [{ pathLength: 1 }, NONE], { client: true, server: true }],
  ["pathlen:1, above two intermediates", [{ pathLength: 1 }, NONE, NONE], {}],
  ["for clients", [{ isFor: ["clientAuth"] }], { client: true }],
  ["for servers", [{ isFor: ["serverAuth"] }], { server: true }],
  ["for servers, above an intermediate", [{ isFor: ["serverAuth"] }, NONE], { server: true }],
  ["for both", [{ isFor: ["serverAuth", "clientAuth"] }], { client: true, server: true }],
  ["for any use", [{ isFor: ["any"] }], { client: true, server: true }],
  ["for signing certificates", [{ keyUsage: "signsCertificates" }], { client: true, server: true }],
];
for (const [name, limits, accepted] of PATHS) {
  Deno.test(`the limits of a trusted authority hold for its clients and servers: ${name}`, async () => {
    const path = makePath(limits);
    for (const role of ROLES) {
      assertEquals(await isAccepted(role, path), accepted[role] === true, role);
    }
  });
}

Deno.test("limits of one trusted authority don't apply to another", async () => {
  const [leaf, intermediate, root] = makePath([{ pathLength: 0 }, NONE]);
  assert(intermediate !== undefined && root !== undefined);
  assertEquals(await isAccepted("client", [leaf, intermediate, root], [unrelatedAuthority]), false);
  assertEquals(await isAccepted("client", [leaf, intermediate, root], [intermediate]), true);
  const { keys, name } = root;
  const extensions = [EXTENSIONS.authority(), EXTENSIONS.isFor("serverAuth")];
  const sameAuthority = makeAuthority({ keys, name, extensions });
  assertEquals(await isAccepted("client", [leaf, intermediate, root], [sameAuthority]), false);
  const unlimitedAuthority = makeAuthority({ keys, name });
  assertEquals(
    await isAccepted("client", [leaf, intermediate, root], [sameAuthority, unlimitedAuthority]),
    true,
  );
});

Deno.test("an authority that may not sign certificates is refused when the configuration is read", () => {
  const [leaf, invalidAuthority] = makePath([{ keyUsage: "signsLists" }]);
  assert(invalidAuthority !== undefined);
  const ca = [unrelatedAuthority.pem, unrelatedAuthority.pem + invalidAuthority.pem];
  const builds = [
    () => buildClientSslctx({ ca }),
    () => buildServerSslctx({ cert: leaf.pem, key: leaf.keyPem, ca }),
  ];
  for (const build of builds) {
    const error = assertThrows(build, RangeError, 'ca: certificate 2 in text 2, of "CN=');
    assertEquals(error.message.endsWith("it has a keyUsage without keyCertSign"), true);
  }
});

Deno.test(
  "random paths are accepted if openssl verify accepts them, unless they have rules that are not checked",
  needsOpenssl,
  async () => {
    await using dir = await createTempDir();
    const limits = fc.record({
      keyUsage: fc.constantFrom(undefined, undefined, "signsCertificates", "signsLists"),
      pathLength: fc.constantFrom(undefined, undefined, 0, 1, 2),
      isFor: fc.constantFrom<Limits["isFor"][]>(undefined, undefined, ["clientAuth"], [
        "serverAuth",
      ], ["clientAuth", "serverAuth"]),
      rule: fc.oneof(
        { weight: 9, arbitrary: fc.constant(undefined) },
        { weight: 1, arbitrary: fc.constantFrom("nameConstraints", "unknown") },
      ),
    }) as fc.Arbitrary<Limits>;
    const paths = fc.array(limits, { minLength: 1, maxLength: 3 });
    const names = ["leaf.pem", "between.pem", "root.pem"].map((name) => join(dir.path, name));
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...ROLES), paths, async (role, all) => {
        const path = makePath(all);
        const parts = [path.slice(0, 1), path.slice(1, -1), path.slice(-1)];
        for (const [index, part] of parts.entries()) {
          await Deno.writeTextFile(names[index]!, part.map(({ pem }) => pem).join(""));
        }
        const [leaf, intermediate, root] = names as [string, string, string];
        const untrusted = path.length > 2 ? ["-untrusted", intermediate] : [];
        const args = ["verify", "-purpose", `ssl${role}`, "-CAfile", root, ...untrusted, leaf];
        const { code } = await runWithInput("openssl", args, "");
        const isAllowed = await isAccepted(role, path).catch((error) => {
          // Reading the configuration refuses the certificate as an authority.
          if (error instanceof RangeError) return false;
          throw error;
        });
        const hasRules = all.some(({ rule }) => rule !== undefined);
        assertEquals(isAllowed, code === 0 && !hasRules);
      }),
      { numRuns: 25 },
    );
  },
);
