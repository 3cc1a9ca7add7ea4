/** Resuming TLS sessions of clients that are no longer trusted. */
import { assertEquals, assertMatch } from "@std/assert";
import type { Address } from "@degu/degu/base";
import type { ServerSslconfig } from "@degu/degu/server";
import { getIssuerKeys, rememberVerifiedClient } from "@degu/internal/net/tls/peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serveRaw } from "@degu/testing/raw_tls.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import {
  type IssuedCertificate,
  needsOpenssl,
  OpensslPki,
  runWithInput,
} from "@degu/testing/tls_openssl.ts";

/** The result of a client that resumes a session or makes a new handshake. */
type Fate = "answered" | "resumed, answered" | "resumed, refused" | "refused";

/** Sends a request with `openssl s_client`, which reports whether the session was resumed. */
async function requestWithOpenssl(address: Address, ...args: readonly string[]): Promise<Fate> {
  const [host, port] = address as readonly [string, number];
  const { stdout } = await runWithInput(
    "openssl",
    ["s_client", "-connect", `${host}:${port}`, "-ign_eof", ...args],
    "GET / HTTP/1.1\r\n\r\n",
  );
  const resumed = stdout.includes("\nReused, TLSv1.") ? "resumed, " : "";
  return `${resumed}${stdout.includes("HTTP/1.1 204") ? "answered" : "refused"}` as Fate;
}

/** Starts a server that counts its requests; each connection makes one request. */
async function startCounting(serverSslconfig: ServerSslconfig) {
  const counted = { requests: 0 };
  const endpoint = await startTls({ serverSslconfig, clientSslconfig: {} }, () => {
    counted.requests++;
    return [204, "No Content", {}, null];
  }, { server: { maxRequests: 1 } });
  return Object.assign(endpoint, { counted });
}

const VERSIONS = [["tls1_2"], ["tls1_3"]] as const;

/**
 * Returns the arguments for a handshake with a certificate, and for resuming its session with and
 * without that certificate.
 */
function argumentsFor(pki: OpensslPki, version: string, { certFile, keyFile }: IssuedCertificate) {
  const ticket = pki.makePath(`${version}.ticket`);
  const newHandshake = [`-${version}`, "-cert", certFile, "-key", keyFile];
  return {
    anew: newHandshake,
    first: [...newHandshake, "-sess_out", ticket],
    resuming: [`-${version}`, "-sess_in", ticket],
    resumingWithIt: [...newHandshake, "-sess_in", ticket],
  };
}

Deno.test("a session is resumed only while its authority is trusted", needsOpenssl, async (t) => {
  await using pki = await OpensslPki.create();
  const serverAuthority = await pki.createAuthority("server_authority");
  const serverCertificate = await pki.createServerCertificate("server", {
    issuer: serverAuthority,
  });
  const authority = await pki.createAuthority("authority");
  const otherAuthority = await pki.createAuthority("other");
  const client = await pki.createClientCertificate("client", { issuer: authority });
  const bothFile = await pki.join("both.pem", otherAuthority.certFile, authority.certFile);
  const sameOptions = { commonName: "authority", keyOf: authority };
  const { certFile: renewed } = await pki.createAuthority("renewed", sameOptions);
  const extensions = ["extendedKeyUsage=serverAuth"];
  const { certFile: limited } = await pki.createAuthority("limited", {
    ...sameOptions,
    extensions,
  });
  const makeConfig = (caFile: string): ServerSslconfig => ({ ...serverCertificate, caFile });
  for (const [version] of VERSIONS) {
    const { anew: newHandshake, first, resuming } = argumentsFor(pki, version, client);
    await using server = await startCounting(makeConfig(authority.certFile));
    const { server: ssl, counted } = server;
    await t.step(`${version}: a session begins`, async () => {
      assertEquals(await requestWithOpenssl(ssl.address, ...first), "answered");
    });
    const rows: readonly [string, string, "resumed, answered" | "resumed, refused"][] = [
      ["the same authority again", authority.certFile, "resumed, answered"],
      ["the same authority and another", bothFile, "resumed, answered"],
      ["without its authority", otherAuthority.certFile, "resumed, refused"],
      ["with its authority again", authority.certFile, "resumed, answered"],
      ["another certificate of its authority's key", renewed, "resumed, answered"],
      ["another certificate of its authority's key, for servers only", limited, "resumed, refused"],
    ];
    for (const [name, caFile, expected] of rows) {
      await t.step(`${version}: ${name}`, async () => {
        ssl.setSslctx(makeConfig(caFile));
        const previousRequests = counted.requests;
        assertEquals(await requestWithOpenssl(ssl.address, ...resuming), expected);
        assertEquals(counted.requests - previousRequests, expected === "resumed, answered" ? 1 : 0);
        if (expected === "resumed, answered") return;
        const line = server.logger.messagesOf("info").at(-1)!;
        assertMatch(line, /UNTRUSTED: the client resumed a session/);
        assertEquals(await requestWithOpenssl(ssl.address, ...newHandshake), "refused");
      });
    }
    await t.step(`${version}: at another server, which never trusted the authority`, async () => {
      await using another = await startCounting(makeConfig(otherAuthority.certFile));
      assertEquals(
        await requestWithOpenssl(another.server.address, ...resuming),
        "resumed, refused",
      );
      assertEquals(another.counted.requests, 0);
    });
    await t.step(`${version}: at another server, after the first has closed`, async () => {
      ssl.close();
      await using another = await startCounting(makeConfig(bothFile));
      assertEquals(
        await requestWithOpenssl(another.server.address, ...resuming),
        "resumed, answered",
      );
    });
  }
});

Deno.test(
  "a session is not resumed if only another authority is trusted",
  needsOpenssl,
  async (t) => {
    await using pki = await OpensslPki.create();
    const serverCertificate = await pki.createServerCertificate("server", {
      issuer: await pki.createAuthority("server_authority"),
    });
    const root = await pki.createAuthority("root");
    const intermediate = await pki.createAuthority("middle", { issuer: root });
    const client = await pki.createClientCertificate("client", { issuer: intermediate });
    const chain = ["-cert_chain", intermediate.certFile];
    await testEachRow(t, VERSIONS, async (version) => {
      await using server = await startCounting({ ...serverCertificate, caFile: root.certFile });
      const { server: ssl } = server;
      const { anew: newHandshake, first, resuming } = argumentsFor(pki, version, client);
      assertEquals(await requestWithOpenssl(ssl.address, ...first, ...chain), "answered");
      assertEquals(await requestWithOpenssl(ssl.address, ...resuming), "resumed, answered");
      ssl.setSslctx({ ...serverCertificate, caFile: intermediate.certFile });
      assertEquals(await requestWithOpenssl(ssl.address, ...resuming), "resumed, refused");
      // A certificate that is sent again is verified again.
      if (version === "tls1_3") {
        assertEquals(await requestWithOpenssl(ssl.address, ...newHandshake, ...chain), "answered");
        assertEquals(await requestWithOpenssl(ssl.address, ...resuming), "resumed, answered");
      }
    });
  },
);

Deno.test(
  "a session without a certificate is not resumed if a certificate is required",
  needsOpenssl,
  async (t) => {
    await using pki = await OpensslPki.create();
    const serverCertificate = await pki.createServerCertificate("server", {
      issuer: await pki.createAuthority("server_authority"),
    });
    const authority = await pki.createAuthority("authority");
    const client = await pki.createClientCertificate("client", { issuer: authority });
    await testEachRow(t, VERSIONS, async (version) => {
      const open = { ...serverCertificate, allowUnauthenticatedClients: true } as const;
      await using server = await startCounting(open);
      const { server: ssl, counted } = server;
      const { anew: newHandshake, first, resumingWithIt } = argumentsFor(pki, version, client);
      assertEquals(await requestWithOpenssl(ssl.address, ...first), "answered");
      ssl.setSslctx({ ...serverCertificate, caFile: authority.certFile });
      assertEquals(await requestWithOpenssl(ssl.address, ...resumingWithIt), "resumed, refused");
      assertEquals(counted.requests, 1);
      assertEquals(await requestWithOpenssl(ssl.address, ...newHandshake), "answered");
      for (const line of server.logger.messagesOf("info")) assertMatch(line, /was not verified/);
    });
  },
);

Deno.test(
  "a session of a node:tls server is resumed once it is verified",
  needsOpenssl,
  async (t) => {
    await using pki = await OpensslPki.create();
    const serverCertificate = await pki.createServerCertificate("server", {
      issuer: await pki.createAuthority("server_authority"),
    });
    const authority = await pki.createAuthority("authority");
    const { certFile: caFile } = authority;
    const trust = {
      serverSslconfig: { ...serverCertificate, caFile },
      clientSslconfig: { caFile },
    };
    // This server requests certificates, and accepts all.
    await using laxServer = await serveRaw(trust, (socket) => {
      socket.once("data", () => socket.end("HTTP/1.1 204 No Content\r\n\r\n"));
    }, { rejectUnauthorized: false });
    await using server = await startCounting(trust.serverSslconfig);
    await testEachRow(t, VERSIONS, async (version) => {
      const client = await pki.createClientCertificate(version, { issuer: authority });
      const { anew: newHandshake, first, resumingWithIt } = argumentsFor(pki, version, client);
      const { address } = server.server;
      assertEquals(await requestWithOpenssl(laxServer.address, ...first), "answered");
      assertEquals(await requestWithOpenssl(address, ...resumingWithIt), "resumed, refused");
      assertMatch(server.logger.messagesOf("info").at(-1)!, /POLICY: .* was not verified/);
      assertEquals(await requestWithOpenssl(address, ...newHandshake), "answered");
      assertEquals(await requestWithOpenssl(address, ...resumingWithIt), "resumed, answered");
    });
  },
);

Deno.test("of 10,000 verified certificates the least recently used one is dropped", () => {
  const listKeys = (name: string) => [...getIssuerKeys(name)];
  const usedName = "the first, which is used again";
  rememberVerifiedClient(usedName, "its authority");
  rememberVerifiedClient("the second", "another authority");
  for (let i = 0; i < 9997; i++) rememberVerifiedClient(`certificate ${i}`, "an authority");
  assertEquals(listKeys(usedName), ["its authority"]);
  rememberVerifiedClient("the second", "one more authority");
  rememberVerifiedClient("the last one that fits", "an authority");
  assertEquals(listKeys("certificate 0"), ["an authority"], "10,000 are remembered");
  rememberVerifiedClient("one too many", "an authority");
  assertEquals(listKeys("certificate 1"), [], "the oldest is forgotten");
  assertEquals(listKeys("certificate 2"), ["an authority"], "and no other");
  assertEquals(listKeys(usedName), ["its authority"], "use keeps it");
  assertEquals(listKeys("the second"), ["another authority", "one more authority"]);
});
