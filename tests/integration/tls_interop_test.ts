/** TLS with openssl, and every kind of key and version. */
import { TlsError } from "@degu/degu/base";
import { buildClientSslctx, type ClientSslconfig, SSLClient } from "@degu/degu/client";
import { type App, buildServerSslctx, type SSLServer } from "@degu/degu/server";
import { MISSING_PROGRAM_CODE, runCommand } from "@degu/testing/commands.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { openSharedPki, startTls, type TlsEndpoint } from "@degu/testing/tls_endpoints.ts";
import {
  type CertificateOptions,
  formatTimeFromNow,
  ignoreUnlessInstalled,
  type IssuedCertificate,
  KEY,
  needsOpenssl,
  OpensslPki,
  runWithInput,
  ServingProgram,
} from "../net/tls/tls_openssl.ts";
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { toFileUrl } from "@std/path";

const pki = await openSharedPki();

// Peers with every kind of certificate, and the expected outcome for each.

/** The peer is accepted, or refused with this code and reason. */
type Verdict = "accepted" | RegExp;

/** The options with which openssl uses weak keys. */
const WEAK = ["-cipher", "ALL@SECLEVEL=0"];

/** The errors of the TLS library for a certificate without a valid path to the authority. */
const UNVERIFIED =
  /^UNTRUSTED: the (?:client|server)'s certificate was refused \(UNABLE_TO_VERIFY_LEAF_SIGNATURE\): .*missing intermediate, .* expired or is not valid yet, .*version 1.*weak key.*extendedKeyUsage.*; the clock of this device says 2/;

const SELF_SIGNED =
  /^UNTRUSTED: .*certificate was refused \([A-Z_]*(SELF_SIGNED|VERIFY_LEAF)[A-Z_]*\)/;

const VERSION_1 = /^UNTRUSTED: .* has version 1 instead of 3/;

const IS_AUTHORITY = /^WRONG_PURPOSE: .*certificate is the certificate of an authority/;

/**
 * A certificate that a peer presents, the options of openssl, and the name that a client checks if
 * it isn't localhost.
 */
type Peer = readonly [name: string, verdict: Verdict, args: readonly string[], sslHost?: string];

const NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1";

/** Makes peers of either role with every kind of certificate. */
async function makePeers(
  pki: OpensslPki,
  trusted: IssuedCertificate,
  ownAuthority: IssuedCertificate,
) {
  const extensions = ["extendedKeyUsage=clientAuth,serverAuth", NAMES];
  const make = (name: string, options: CertificateOptions) =>
    pki.createCertificate(name, { extensions, ...options });
  const makeArgs = async (name: string, options: CertificateOptions) =>
    makeCertificateArgs(await make(name, { issuer: trusted, ...options }));
  const otherAuthority = await pki.createAuthority("other");
  const intermediate = await pki.createAuthority("intermediate", { issuer: trusted });
  const leaf = await make("leaf", { issuer: trusted });
  const leafBelow = await make("below", { issuer: intermediate });
  const belowLeaf = await make("below_leaf", { issuer: leaf });
  const version1 = makeCertificateArgs(await pki.createVersion1("version1", trusted));
  const makeForOneRole = (usage: string) =>
    makeArgs(usage, { extensions: [`extendedKeyUsage=${usage}`, NAMES] });
  const usage = {
    client: await makeForOneRole("serverAuth"),
    server: await makeForOneRole("clientAuth"),
  };
  const inBoth: Peer[] = [
    ["the right authority, ECDSA P-256", "accepted", makeCertificateArgs(leaf)],
    ["ECDSA P-384", "accepted", await makeArgs("p384", { key: KEY.p384 })],
    ["RSA 2048", "accepted", await makeArgs("rsa", { key: KEY.rsa2048 })],
    ["Ed25519", "accepted", await makeArgs("ed25519", { key: KEY.ed25519 })],
    ["an intermediate authority", "accepted", makeCertificateArgs(leafBelow, intermediate)],
    ["an intermediate authority that is missing", UNVERIFIED, makeCertificateArgs(leafBelow)],
    ["an intermediate that is no authority", UNVERIFIED, makeCertificateArgs(belowLeaf, leaf)],
    ["another authority", UNVERIFIED, await makeArgs("stranger", { issuer: otherAuthority })],
    ["another authority, which is sent with the leaf", SELF_SIGNED, [
      ...makeCertificateArgs(await make("stranger2", { issuer: otherAuthority }), otherAuthority),
    ]],
    [
      "the authority of the other role",
      UNVERIFIED,
      await makeArgs("swapped", { issuer: ownAuthority }),
    ],
    ["a self-signed certificate", SELF_SIGNED, makeCertificateArgs(await make("self", {}))],
    [
      "an expired certificate",
      UNVERIFIED,
      await makeArgs("expired", { to: formatTimeFromNow(-1) }),
    ],
    [
      "a certificate that is not valid yet",
      UNVERIFIED,
      await makeArgs("early", { from: formatTimeFromNow(1) }),
    ],
    [
      "a keyUsage without digitalSignature",
      /^WRONG_PURPOSE: .*keyUsage without digitalSignature|^REFUSED_BY_PEER: .*alert: HandshakeFailure/,
      await makeArgs("key_usage", { extensions: ["keyUsage=keyAgreement", NAMES] }),
    ],
    ["the authority itself", IS_AUTHORITY, makeCertificateArgs(trusted)],
    [
      "a certificate that is also an authority",
      SELF_SIGNED,
      await makeArgs("sub_authority", { isAuthority: true }),
    ],
    [
      "an extension that can't be read",
      /^UNTRUSTED: the .*certificate can't be read$|^REFUSED_BY_PEER: .*alert: HandshakeFailure$/,
      await makeArgs("unreadable", { extensions: [NAMES, "2.5.29.35=DER:01:01:ff"] }),
    ],
    ["a signature with SHA-1", UNVERIFIED, [
      ...await makeArgs("sha1", { signOptions: ["-sha1"] }),
      ...WEAK,
    ]],
    ["RSA 1024", UNVERIFIED, [...await makeArgs("short", { key: KEY.rsa1024 }), ...WEAK]],
  ];
  return (role: "client" | "server"): Peer[] => [
    ...inBoth,
    ["an extendedKeyUsage for the other role", UNVERIFIED, usage[role]],
    ["a certificate of version 1", role === "client" ? UNVERIFIED : VERSION_1, version1],
  ];
}

async function testEachPeer(
  t: Deno.TestContext,
  peers: readonly Peer[],
  run: (peer: Peer) => Promise<void>,
): Promise<void> {
  for (const peer of peers) {
    const outcome = peer[1] === "accepted" ? "accepted" : "refused";
    await t.step(`${peer[0]}: ${outcome}`, () => run(peer));
  }
}

/** The peers that are also tried with TLS 1.2. */
const WITH_TLS_1_2 =
  /^(the right authority, ECDSA P-256|RSA 2048|an intermediate authority|another authority|no certificate)$/;

/** Returns the peers with TLS 1.3, and some of them also with TLS 1.2. */
function addVersions(peers: readonly Peer[]): Peer[] {
  const withTls12 = peers.filter(([name]) => WITH_TLS_1_2.test(name));
  return [["tls1_3", peers], ["tls1_2", withTls12] as const].flatMap(([version, peers]) =>
    (peers as readonly Peer[]).map(([name, verdict, args]): Peer => {
      return [`${version}: ${name}`, verdict, [`-${version}`, ...args]];
    })
  );
}

/** Returns the arguments with which openssl sends a certificate and its intermediates. */
function makeCertificateArgs(
  { certFile, keyFile }: IssuedCertificate,
  ...chain: readonly IssuedCertificate[]
): string[] {
  const [first] = chain;
  const chainArgs = first === undefined ? [] : ["-cert_chain", first.certFile];
  return ["-cert", certFile, "-key", keyFile, ...chainArgs];
}

// Other programs as peers, with certificates on both sides.

/** An app that responds with the subject of the client and the request's body. */
const echoApp: App = async (request, session) => {
  return [200, "OK", { who: session.peerCertificate?.subject ?? "nobody" }, await request.bytes()];
};

async function startEcho() {
  const endpoint = await startTls(pki, echoApp, { server: { timeout: 10 } });
  const [, port] = endpoint.server.address as [string, number];
  return Object.assign(endpoint, { port });
}

const { caFile, certFile = "", keyFile = "" } = pki.clientSslconfig;
const CURL = ["--silent", "--show-error", "--noproxy", "*", "--cacert", caFile];
const IDENTITY = ["--cert", certFile, "--key", keyFile];

Deno.test(
  "the server responds to curl over TCP only with a certificate",
  await ignoreUnlessInstalled("curl"),
  async () => {
    await using server = await startEcho();
    const url = `https://localhost:${server.port}/`;
    const curlCommand = [...CURL, "--include", ...IDENTITY, url];
    const args = ["--data-binary", "@-", ...curlCommand, "--next", ...curlCommand];
    const { stdout, code } = await runWithInput("curl", args, "hello");
    assertEquals(code, 0);
    assertEquals(
      stdout,
      "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nwho: CN=TempPKI client\r\n\r\nhello" +
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nwho: CN=TempPKI client\r\n\r\n",
    );
    const refused = await runWithInput("curl", [...CURL, url], "");
    assertEquals([refused.code !== 0, refused.stdout], [true, ""]);
    assertMatch((await server.logger.waitFor("info"))[0]!, /peer sent no certificates/);
  },
);

Deno.test({
  name:
    "the commands in docs/tls.md create files that the code below them, curl and openssl can use",
  ...await ignoreUnlessInstalled("openssl"),
  async fn() {
    await using dir = await createTempDir();
    const page = await Deno.readTextFile(new URL("../../docs/tls.md", import.meta.url));
    const [, making = "", code = "", asking = ""] =
      /^```sh\n(.*?)^```$.*?^```ts\n(.*?)^```$.*?^```sh\n(.*?)^```$/ms.exec(page) ?? [];
    assertEquals(making.trim().split("\n").length, 4);
    for (const command of making.trim().split("\n")) {
      const { code, stderr } = await runCommand(parseArguments(command), { cwd: dir.path });
      assertEquals(code, 0, `${command}\n${stderr}`);
    }
    const module = `${dir.path}/ends.ts`;
    await Deno.writeTextFile(module, `${code}\nexport { makeClient, startServer };`);
    const { makeClient, startServer } = await import(toFileUrl(module).href);
    const app: App = (_request, session) => {
      return [200, "OK", { who: session.peerCertificate!.subject }, new Uint8Array(0)];
    };
    await using server: SSLServer = await startServer(["127.0.0.1", 0], app);
    const client: SSLClient = makeClient(server.address);
    assertEquals([...server.sslctx.warnings, ...client.sslctx.warnings], []);
    const { headers } = await client.request("GET", "/");
    assertEquals(headers["who"], "CN=viewer");

    const printed = { curl: /^< who: CN=viewer\r?$/m, openssl: /Verify return code: 0 \(ok\)/ };
    const commands = asking.trim().split("\n");
    assertEquals(commands.map((command) => command.split(" ")[0]), Object.keys(printed));
    for (const [i, [program, expected]] of Object.entries(printed).entries()) {
      const command = parseArguments(commands[i]!.replace("5984", `${server.address[1]}`));
      if (program === "curl") command.splice(1, 0, "--verbose");
      const { code, stdout, stderr } = await runCommand(command, { cwd: dir.path });
      if (code !== MISSING_PROGRAM_CODE) assertMatch(stdout + stderr, expected, commands[i]);
    }
  },
});

/** Returns the words of a command line. */
function parseArguments(line: string): string[] {
  return (line.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replaceAll('"', ""));
}

// Accepted clients and trusted servers, with certificates and peers of the openssl program.

const INCOMPATIBLE =
  /^POLICY: .*(?:NoKxGroupsInCommon|NoCipherSuitesInCommon|SignatureAlgorithms)|^REFUSED_BY_PEER: received fatal alert: (?:HandshakeFailure|ProtocolVersion; the peer may support only TLS 1\.1 or older)$/;

const makeTls12Args = (cipher: string) => ["-tls1_2", "-cipher", cipher];

/** Versions that neither side supports. */
const REFUSED_HANDSHAKES: readonly Peer[] = [
  ["TLS 1.1 only", INCOMPATIBLE, ["-tls1_1", ...WEAK]],
  ["no forward secrecy", INCOMPATIBLE, makeTls12Args("AES128-GCM-SHA256")],
  ["DHE", INCOMPATIBLE, makeTls12Args("DHE-RSA-AES128-GCM-SHA256")],
  ["CBC", INCOMPATIBLE, makeTls12Args("ECDHE-RSA-AES128-SHA256")],
];

class RequestRecorder {
  readonly requestedUris = new Set<string>();
  readonly app: App = (request) => {
    this.requestedUris.add(request.uri);
    return [200, "OK", {}, null];
  };
}

/** Sends a request with `openssl s_client`, and asserts the result. */
async function assertRequestResult(
  { server, logger }: TlsEndpoint,
  witness: RequestRecorder,
  uri: string,
  verdict: Verdict,
  args: readonly string[],
): Promise<void> {
  const [host, port] = server.address as [string, number];
  logger.lines.length = 0;
  const { stdout } = await runWithInput(
    "openssl",
    ["s_client", "-connect", `${host}:${port}`, "-quiet", ...args],
    `GET ${uri} HTTP/1.1\r\n\r\n`,
  );
  if (verdict === "accepted") {
    // Each session has one request.
    const last = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assertEquals([stdout, logger.messagesOf("info")], [last, []]);
  } else {
    assertEquals(stdout, "");
    const refusals = await logger.waitFor("info");
    assertEquals(refusals.length, 1, `logged: ${refusals}`);
    const [, reason = ""] = /^127\.0\.0\.1:\d+: the handshake failed: ([\x20-\x7e]+)$/
      .exec(refusals[0]!) ?? [];
    assertMatch(reason, verdict);
  }
  assertEquals(witness.requestedUris.has(uri), verdict === "accepted");
}

Deno.test("each end accepts only the certificates of its authority", needsOpenssl, async (t) => {
  await using pki = await OpensslPki.create();
  const trusted = await pki.createAuthority("trusted");
  const ownAuthority = await pki.createAuthority("own_authority");
  const peersOf = await makePeers(pki, trusted, ownAuthority);
  const certificates = { pki, trusted, ownAuthority };
  await t.step("a server, its clients", (t) => testServer(certificates, peersOf("client"), t));
  await t.step("a client, its servers", (t) => testClient(certificates, peersOf("server"), t));
});

interface Certificates {
  readonly pki: OpensslPki;
  readonly trusted: IssuedCertificate;
  /** The authority of the tested client or server. */
  readonly ownAuthority: IssuedCertificate;
}

async function testServer(
  { pki, trusted, ownAuthority }: Certificates,
  peers: readonly Peer[],
  t: Deno.TestContext,
): Promise<void> {
  const ownCertificate = await pki.createServerCertificate("own", { issuer: ownAuthority });
  const rsa = await pki.createServerCertificate("own_rsa", {
    issuer: ownAuthority,
    key: KEY.rsa2048,
  });
  const witness = new RequestRecorder();
  const trust = {
    serverSslconfig: { ...rsa, caFile: trusted.certFile },
    clientSslconfig: { caFile: ownAuthority.certFile },
  };
  await using endpoint = await startTls(trust, witness.app, { server: { maxRequests: 1 } });
  const validArgs = peers[0]![2];
  const noCertificate: Peer = ["no certificate", /^NO_CERTIFICATE: peer sent no certificates$/, []];
  const handshakes: readonly Peer[] = [
    ...REFUSED_HANDSHAKES,
    ["TLS 1.0 only", INCOMPATIBLE, ["-tls1", ...WEAK]],
    ["ECDHE with AES-GCM", "accepted", makeTls12Args("ECDHE-RSA-AES128-GCM-SHA256")],
    ["ECDHE with ChaCha20", "accepted", makeTls12Args("ECDHE-RSA-CHACHA20-POLY1305")],
    ["TLS 1.3 with AES-128", "accepted", ["-ciphersuites", "TLS_AES_128_GCM_SHA256"]],
    ["TLS 1.3 with CCM", INCOMPATIBLE, ["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"]],
  ];
  const handshakePeers = handshakes.map((
    [name, verdict, args],
  ): Peer => [name, verdict, [...validArgs, ...args]]);
  await testEachPeer(
    t,
    [...addVersions([...peers, noCertificate]), ...handshakePeers],
    ([name, verdict, args]) => {
      const uri = `/${name.replaceAll(/[^A-Za-z0-9]/g, "-")}`;
      return assertRequestResult(endpoint, witness, uri, verdict, args);
    },
  );
  await t.step("the wrong key: refused when the context is built", () => {
    const config = {
      certFile: ownCertificate.certFile,
      keyFile: rsa.keyFile,
      caFile: trusted.certFile,
    };
    assertThrows(() => buildServerSslctx(config), RangeError, "does not belong to");
  });
}

/** Sends a request to an `openssl s_server`, and asserts the result. */
async function assertTrusted(
  config: ClientSslconfig,
  sslHost: string,
  verdict: Verdict,
  args: readonly string[],
): Promise<void> {
  const { program, port } = await ServingProgram.startOpenssl([...args, "-naccept", "1"]);
  await using _ = program;
  const client = new SSLClient(config, ["127.0.0.1", port], { sslHost, timeout: 60 });
  if (verdict === "accepted") {
    const requesting = client.request("GET", "/");
    await program.waitForStdout(/GET \/ HTTP\/1\.1\r?\n/);
    await program.writeInput("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assertEquals((await requesting).status, 200);
  } else {
    const error = await assertRejects(() => client.request("GET", "/"), TlsError);
    const [, reason = ""] = /^the TLS handshake with 127\.0\.0\.1:\d+ failed: ([\x20-\x7e]+)$/
      .exec(error.message) ?? [];
    assertMatch(`${error.code}: ${reason}`, verdict);
    const { stdout: output } = await program.waitForEnd();
    assert(!output.includes("GET /"), output);
  }
}

async function testClient(
  { pki, trusted, ownAuthority }: Certificates,
  peers: readonly Peer[],
  t: Deno.TestContext,
): Promise<void> {
  const ownCertificate = await pki.createClientCertificate("own_client", { issuer: ownAuthority });
  const config = { ...ownCertificate, caFile: trusted.certFile };
  const [, , validArgs] = peers[0]!;
  const makeNamed = (name: string, ...extensions: string[]) =>
    pki.createCertificate(name, { issuer: trusted, extensions }).then((issued) =>
      makeCertificateArgs(issued)
    );
  const rsa = makeCertificateArgs(
    await pki.createServerCertificate("rsa_server", { issuer: trusted, key: KEY.rsa2048 }),
  );
  const DNS = "subjectAltName=DNS:";
  const makeMisnamed = (name: string, args: readonly string[], host: string): Peer => {
    const verdict = new RegExp(`^WRONG_NAME: .* is not for "${RegExp.escape(host)}"`);
    return [name, verdict, args, host];
  };
  const hosts: readonly Peer[] = [
    ["the address", "accepted", validArgs, "127.0.0.1"],
    makeMisnamed("another address", validArgs, "127.0.0.2"),
    makeMisnamed("another host", validArgs, "other.example"),
    makeMisnamed("a subdomain of the host", validArgs, "a.localhost"),
    ["a wildcard", "accepted", await makeNamed("w1", `${DNS}*.a.example`), "b.a.example"],
    makeMisnamed(
      "a wildcard, two labels",
      await makeNamed("w2", `${DNS}*.a.example`),
      "c.b.a.example",
    ),
    [
      "a name in the subject alone",
      /^WRONG_NAME: .* has no subjectAltName/,
      await makeNamed("localhost"),
      "localhost",
    ],
    makeMisnamed(
      "a name in the subject, another in the extension",
      await makeNamed("both.example", `${DNS}localhost`),
      "both.example",
    ),
    makeMisnamed("an address as a DNS name", await makeNamed("ip", `${DNS}127.0.0.1`), "127.0.0.1"),
  ];
  const handshakes: readonly Peer[] = [
    ...REFUSED_HANDSHAKES.map(([name, verdict, args]): Peer => [name, verdict, [...rsa, ...args]]),
    ["no certificate at all", INCOMPATIBLE, ["-nocert", ...makeTls12Args("aNULL@SECLEVEL=0")]],
  ];
  await testEachPeer(t, [...addVersions(peers), ...hosts, ...handshakes], (peer) => {
    const [, verdict, args, sslHost = "localhost"] = peer;
    return assertTrusted(config, sslHost, verdict, args);
  });
  await t.step("the authority is checked even if names are not", async () => {
    const unnamed = { ...config, checkHostname: false };
    await assertTrusted(unnamed, "other.example", "accepted", validArgs);
    const stranger = peers.find(([name]) => name === "another authority");
    await assertTrusted(unnamed, "localhost", UNVERIFIED, stranger![2]);
  });
  await t.step("the wrong key: refused when the context is built", () => {
    const wrongConfig = { ...config, keyFile: trusted.keyFile };
    assertThrows(() => buildClientSslctx(wrongConfig), RangeError, "does not belong to");
  });
}
