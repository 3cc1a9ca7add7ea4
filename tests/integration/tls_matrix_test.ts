/** Which clients are accepted and which servers are trusted, with certificates and peers of the openssl program. */
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { TlsError } from "@degu/degu/base";
import { buildClientSslctx, type ClientSslconfig, SSLClient } from "@degu/degu/client";
import { type App, buildServerSslctx } from "@degu/degu/server";
import { startTls, type TlsEndpoint } from "@degu/testing/tls_endpoints.ts";
import {
  converse,
  KEY,
  OpensslPki,
  ServingProgram,
  unlessMissing,
} from "@degu/testing/tls_openssl.ts";
import {
  makeCertificates,
  makePeers,
  outcome,
  type Peer,
  show,
  UNVERIFIED,
  type Verdict,
  WEAK,
} from "@degu/testing/tls_peers.ts";

const needsOpenssl = await unlessMissing("openssl");

const VERSIONS = ["tls1_3", "tls1_2"] as const;

const INCOMPATIBLE =
  /^POLICY: .*(?:NoKxGroupsInCommon|NoCipherSuitesInCommon|SignatureAlgorithms)|^REFUSED_BY_PEER: received fatal alert: (?:HandshakeFailure|ProtocolVersion)$/;

/** Remembers what it was asked for. */
class Witness {
  readonly asked = new Set<string>();
  readonly app: App = (request) => {
    this.asked.add(request.uri);
    return [200, "OK", {}, null];
  };
}

/** Asks with `openssl s_client` and asserts what came of it. */
async function assertAsked(
  { server, logger }: TlsEndpoint,
  witness: Witness,
  uri: string,
  verdict: Verdict,
  args: readonly string[],
): Promise<void> {
  const [host, port] = server.address as [string, number];
  logger.lines.length = 0;
  const { stdout } = await converse(
    "openssl",
    ["s_client", "-connect", `${host}:${port}`, "-quiet", ...args],
    `GET ${uri} HTTP/1.1\r\n\r\n`,
  );
  if (verdict === "accepted") {
    assertEquals([stdout, logger.at("info")], ["HTTP/1.1 200 OK\r\n\r\n", []]);
  } else {
    assertEquals(stdout, "");
    const refusals = await logger.waitFor("info");
    assertEquals(refusals.length, 1, `logged: ${refusals}`);
    const [, reason = ""] = /^127\.0\.0\.1:\d+: the handshake failed: ([\x20-\x7e]+)$/
      .exec(refusals[0]!) ?? [];
    assertMatch(reason, verdict);
  }
  assertEquals(witness.asked.has(uri), verdict === "accepted");
}

Deno.test({
  name: "a TLS server accepts only the clients of its authority",
  ...needsOpenssl,
  async fn(t) {
    await using pki = await OpensslPki.create();
    const certificates = await makeCertificates(pki, "server");
    const { trusted, ownAuthority, own } = certificates;
    const rsa = await pki.server("own_rsa", { issuer: ownAuthority, key: KEY.rsa2048 });
    const witness = new Witness();
    const trust = {
      serverSslconfig: { ...rsa, caFile: trusted.certFile },
      clientSslconfig: { caFile: ownAuthority.certFile },
    };
    await using endpoint = await startTls(trust, witness.app, { server: { maxRequests: 1 } });
    const peers = await makePeers(certificates, "client");
    const good = peers[0]![2];
    for (const version of VERSIONS) {
      for (
        const [name, verdict, args] of [
          ...peers,
          ["no certificate", /^NO_CERTIFICATE: peer sent no certificates$/, []] as const,
        ]
      ) {
        await t.step(`${version}: ${name}${outcome(verdict)}`, () => {
          const uri = `/${version}/${encodeURIComponent(name).replaceAll(/[^A-Za-z0-9]/g, "-")}`;
          return assertAsked(endpoint, witness, uri, verdict, [`-${version}`, ...args]);
        });
      }
    }
    const handshakes: readonly Peer[] = [
      ["TLS 1.1 only", INCOMPATIBLE, [
        "-tls1_1",
        ...WEAK,
      ]],
      ["TLS 1.0 only", INCOMPATIBLE, ["-tls1", ...WEAK]],
      ["ECDHE with AES-GCM", "accepted", ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"]],
      ["ECDHE with ChaCha20", "accepted", ["-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"]],
      ["no forward secrecy", INCOMPATIBLE, [
        "-tls1_2",
        "-cipher",
        "AES128-GCM-SHA256",
      ]],
      ["DHE", INCOMPATIBLE, [
        "-tls1_2",
        "-cipher",
        "DHE-RSA-AES128-GCM-SHA256",
      ]],
      ["CBC", INCOMPATIBLE, [
        "-tls1_2",
        "-cipher",
        "ECDHE-RSA-AES128-SHA256",
      ]],
      ["TLS 1.3 with AES-128", "accepted", ["-ciphersuites", "TLS_AES_128_GCM_SHA256"]],
      ["TLS 1.3 with CCM", INCOMPATIBLE, [
        "-tls1_3",
        "-ciphersuites",
        "TLS_AES_128_CCM_SHA256",
      ]],
    ];
    for (const [name, verdict, args] of handshakes) {
      await t.step(`${name}${outcome(verdict)}`, () => {
        const uri = `/${name.replaceAll(/[^A-Za-z0-9]/g, "-")}`;
        return assertAsked(endpoint, witness, uri, verdict, [...good, ...args]);
      });
    }
    await t.step("the wrong key: refused when the context is built", () => {
      const config = { certFile: own.certFile, keyFile: rsa.keyFile, caFile: trusted.certFile };
      assertThrows(() => buildServerSslctx(config), RangeError, "does not belong to");
    });
  },
});

/** Asks an `openssl s_server` and asserts what came of it. */
async function assertTrusted(
  config: ClientSslconfig,
  sslHost: string,
  verdict: Verdict,
  args: readonly string[],
): Promise<void> {
  const { program, port } = await ServingProgram.openssl([...args, "-naccept", "1"]);
  await using _ = program;
  const client = new SSLClient(config, ["127.0.0.1", port], { sslHost, timeout: 10 });
  if (verdict === "accepted") {
    const requesting = client.request("GET", "/");
    await program.waitFor(/GET \/ HTTP\/1\.1\r?\n/);
    await program.say("HTTP/1.1 200 OK\r\n\r\n");
    assertEquals((await requesting).status, 200);
  } else {
    const error = await assertRejects(() => client.request("GET", "/"), TlsError);
    const [, reason = ""] = /^the TLS handshake with 127\.0\.0\.1:\d+ failed: ([\x20-\x7e]+)$/
      .exec(error.message) ?? [];
    assertMatch(`${error.code}: ${reason}`, verdict);
    const said = await program.waitForEnd();
    assert(!said.includes("GET /"), said);
  }
}

Deno.test({
  name: "a TLS client trusts only the servers of its authority",
  ...needsOpenssl,
  async fn(t) {
    await using pki = await OpensslPki.create();
    const certificates = await makeCertificates(pki, "client");
    const { trusted, own } = certificates;
    const config = { ...own, caFile: trusted.certFile };
    const peers = await makePeers(certificates, "server");
    const [, , good] = peers[0]!;
    for (const version of VERSIONS) {
      for (const [name, verdict, args] of peers) {
        await t.step(`${version}: ${name}${outcome(verdict)}`, () => {
          return assertTrusted(config, "localhost", verdict, [`-${version}`, ...args]);
        });
      }
    }
    const named = (name: string, ...extensions: string[]) =>
      pki.issue(name, { issuer: trusted, extensions }).then((issued) => show(issued));
    const rsa = show(await pki.server("rsa_server", { issuer: trusted, key: KEY.rsa2048 }));
    const hosts: readonly (readonly [...Peer, sslHost: string])[] = [
      ["the address", "accepted", good, "127.0.0.1"],
      ["another address", /^WRONG_NAME: .* is not for "127\.0\.0\.2"/, good, "127.0.0.2"],
      ["another host", /^WRONG_NAME: .* is not for "other\.example"/, good, "other.example"],
      ["a host below", /^WRONG_NAME: .* is not for "a\.localhost"/, good, "a.localhost"],
      [
        "a wildcard",
        "accepted",
        await named("w1", "subjectAltName=DNS:*.a.example"),
        "b.a.example",
      ],
      [
        "a wildcard, two labels",
        /^WRONG_NAME: .* is not for "c\.b\.a\.example"/,
        await named("w2", "subjectAltName=DNS:*.a.example"),
        "c.b.a.example",
      ],
      [
        "a name in the subject alone",
        /^WRONG_NAME: .* has no subjectAltName/,
        await named("localhost"),
        "localhost",
      ],
      [
        "a name in the subject, another in the extension",
        /^WRONG_NAME: .* is not for "both\.example"/,
        await named("both.example", "subjectAltName=DNS:localhost"),
        "both.example",
      ],
      [
        "an address as a DNS name",
        /^WRONG_NAME: .* is not for "127\.0\.0\.1"/,
        await named("ip", "subjectAltName=DNS:127.0.0.1"),
        "127.0.0.1",
      ],
    ];
    for (const [name, verdict, args, sslHost] of hosts) {
      await t.step(
        `${name}${outcome(verdict)}`,
        () => assertTrusted(config, sslHost, verdict, args),
      );
    }
    const handshakes: readonly Peer[] = [
      ["TLS 1.1 only", INCOMPATIBLE, [
        ...rsa,
        "-tls1_1",
        ...WEAK,
      ]],
      ["no forward secrecy", INCOMPATIBLE, [
        ...rsa,
        "-tls1_2",
        "-cipher",
        "AES128-GCM-SHA256",
      ]],
      ["DHE", INCOMPATIBLE, [
        ...rsa,
        "-tls1_2",
        "-cipher",
        "DHE-RSA-AES128-GCM-SHA256",
      ]],
      ["CBC", INCOMPATIBLE, [
        ...rsa,
        "-tls1_2",
        "-cipher",
        "ECDHE-RSA-AES128-SHA256",
      ]],
      ["no certificate at all", INCOMPATIBLE, [
        "-nocert",
        "-tls1_2",
        "-cipher",
        "aNULL@SECLEVEL=0",
      ]],
    ];
    for (const [name, verdict, args] of handshakes) {
      await t.step(
        `${name}${outcome(verdict)}`,
        () => assertTrusted(config, "localhost", verdict, args),
      );
    }
    await t.step("the authority is checked even if names are not", async () => {
      const unnamed = { ...config, checkHostname: false };
      await assertTrusted(unnamed, "other.example", "accepted", good);
      const stranger = peers.find(([name]) => name === "another authority");
      await assertTrusted(unnamed, "localhost", UNVERIFIED, stranger![2]);
    });
    await t.step("the wrong key: refused when the context is built", () => {
      const wrong = { ...config, keyFile: trusted.keyFile };
      assertThrows(() => buildClientSslctx(wrong), RangeError, "does not belong to");
    });
  },
});
