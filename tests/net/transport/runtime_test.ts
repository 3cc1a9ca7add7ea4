/**
 * The private parts of Deno's runtime, the versions of Deno that are supported, and RSA keys that are
 * too large for Deno, wherever a configuration or a peer has one.
 */
import * as net from "node:net";
import * as tls from "node:tls";
import { once } from "node:events";
import { freeMemoryAfterReads } from "@degu/internal/net/transport/runtime.ts";
import { runProgram } from "@degu/testing/processes.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { DeguError, TlsError } from "@degu/degu/base";
import { buildClientSslctx, SSLClient } from "@degu/degu/client";
import { buildServerSslctx, SSLServer } from "@degu/degu/server";
import { isSupportedDeno, MIN_DENO_VERSION } from "@degu/internal/net/tls/deno_version.ts";
import { fromFileUrl } from "@std/path";
import { readTexts, serveNodeTls, startTls } from "@degu/testing/tls_endpoints.ts";
import { type IssuedCertificate, KEY, needsOpenssl, OpensslPki } from "../tls/tls_openssl.ts";

Deno.test("this Deno has each private part of the runtime that the package uses", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const socket = net.connect(listener.addr);
  const connected = once(socket, "connect");
  using _peer = await listener.accept();
  await connected;
  // The handle calls `onread` with the bytes of each read.
  for (const name of ["readStop", "readStart", "onread"]) {
    assertEquals(typeof Reflect.get(Reflect.get(socket, "_handle"), name), "function");
  }
  const closed = once(socket, "close");
  socket.destroy();
  await closed;
});

Deno.test("memory is freed after reads only if the socket is open, and has the function for it", () => {
  const calls: string[] = [];
  const handle = { readStop: () => calls.push("stop"), readStart: () => calls.push("start") };
  for (const _handle of [null, handle, { ...handle, onread: 5 }]) {
    freeMemoryAfterReads({ _handle } as unknown as net.Socket);
  }
  assertEquals([calls, Object.keys(handle)], [[], ["readStop", "readStart"]]);
});

Deno.test("a pause without effect ends the connection with this reason", async () => {
  const flags = ["--allow-net=127.0.0.1", "--allow-read", "--allow-write=/tmp"];
  const message = JSON.parse(await runProgram("ignored_pauses.ts", { flags }));
  assertMatch(message, /can't be paused in Deno \S+: more than 16 MiB of the peer are unread/);
});

// ───────────────────────── versions of Deno

Deno.test("versions are compared numerically, with pre-releases before releases", () => {
  const supported =
    "2.9.6 2.9.7 2.9.10 2.10.0 2.10.0-rc.1 2.100.0 3.0.0 3.0.0-rc.0+1a2b3c4 10.0.0 " +
    "2.9.6+1a2b3c4 2.9.16-alpha";
  const refused = "2.9.5 2.9.0 2.8.99 1.46.3 0.99.99 2.9.5+1a2b3c4 2.9.6-rc.1 2.9.6-rc.1+1a2b3c4 " +
    "2.9.6-2.9.7 2.9 2.9.6.1 v2.9.6 2.9.x -3.0.0 3e0.0.0 unknown";
  for (const version of supported.split(" ")) assertEquals(isSupportedDeno(version), true, version);
  for (const version of [...refused.split(" "), " 2.9.6", "2.9.6 ", ""]) {
    assertEquals(isSupportedDeno(version), false, version);
  }
  assertEquals(isSupportedDeno(Deno.version.deno), true);
});

Deno.test("on an older Deno TLS clients and servers fail with an error that names the required version", async () => {
  const app = () => [200, "OK", {}, null] as const;
  const serverSslconfig = {
    certFile: "/nowhere/cert.pem",
    keyFile: "/nowhere/key.pem",
    allowUnauthenticatedClients: true,
  } as const;
  const { version } = Deno;
  // The suite doesn't run on an older Deno: this simulates its version.
  Object.defineProperty(Deno, "version", { value: { ...version, deno: "2.9.5" } });
  try {
    const makers = [
      () => new SSLClient({}, ["127.0.0.1", 443]),
      () => new SSLServer(serverSslconfig, ["127.0.0.1", 0], app),
      () => buildClientSslctx({}),
      () => buildServerSslctx(serverSslconfig),
    ];
    for (const make of makers) {
      const { message } = await assertRejects(async () => await make(), DeguError);
      assertStringIncludes(message, 'this is Deno "2.9.5"');
      assertStringIncludes(message, `needs ${MIN_DENO_VERSION} or later`);
      assertStringIncludes(message, "don't verify client certificates reliably");
    }
  } finally {
    Object.defineProperty(Deno, "version", { value: version });
  }
  assertEquals(buildClientSslctx({}).verify, true);
});

// ───────────────────────── RSA keys that are too large for Deno

const app = () => [204, "No Content", {}, null] as const;

/** Makes the options of a client or server: its identity, and the authority that it trusts. */
function makeConfig({ certFile, keyFile }: IssuedCertificate, caFile: string) {
  return { certFile, keyFile, caFile };
}

/**
 * A key for tests only, because making a key of this size takes 1 to 10 s. 4098 is the smallest size
 * above 4096 bits, the limit of Deno, that openssl supports.
 */
function findKey(name: string): IssuedCertificate {
  return { certFile: "", keyFile: fromFileUrl(new URL(`../tls/${name}`, import.meta.url)) };
}

/** Makes an authority with a large key, an authority with another key, and certificates of each. */
async function makeCertificates(pki: OpensslPki) {
  const small = await pki.createAuthority("small");
  const large = await pki.createAuthority("large", { keyOf: findKey("rsa_4098.pem") });
  return {
    small,
    large,
    server: await pki.createServerCertificate("server", { issuer: small }),
    client: await pki.createClientCertificate("client", { issuer: small }),
    largeServer: await pki.createServerCertificate("large_server", { issuer: small, keyOf: large }),
    largeClient: await pki.createClientCertificate("large_client", { issuer: small, keyOf: large }),
    serverOfLarge: await pki.createServerCertificate("server_of_large", { issuer: large }),
    clientOfLarge: await pki.createClientCertificate("client_of_large", { issuer: large }),
  };
}

const TOO_LARGE =
  "has a key of an unsupported kind or size; must be .*, or RSA with 2048 to 4096 bits";

/** Matches a message about a certificate. */
function makeMessagePattern(begin: string, name: string, end = ""): RegExp {
  return new RegExp(`^${begin}, of "CN=${name}", ${TOO_LARGE}${end}$`);
}

function assertTooLarge(build: () => unknown, keyOption: string): void {
  const { message } = assertThrows(build, RangeError);
  assert(message.startsWith(`${keyOption}: the key in `), message);
  assertMatch(message, /is an RSA key of 4098 bits; must be .*, or RSA with 2048 to 4096 bits$/);
}

Deno.test(
  "an RSA key above 4096 bits is an error in a local certificate, a warning in an authority beside a usable one, and a reason to refuse a peer",
  needsOpenssl,
  async (t) => {
    await using pki = await OpensslPki.create();
    const certificates = await makeCertificates(pki);
    const { small, large, server, client, largeServer, largeClient } = certificates;
    await t.step("a server's, in files and as text", async () => {
      const files = makeConfig(largeServer, small.certFile);
      assertTooLarge(() => buildServerSslctx(files), "keyFile");
      const texts = await readTexts(files);
      assertTooLarge(() => buildServerSslctx(texts), "key");
    });
    await t.step("a client's", () => {
      const files = makeConfig(largeClient, small.certFile);
      assertTooLarge(() => buildClientSslctx(files), "keyFile");
    });
    await t.step("a large key in the certificate, and another key", () => {
      const { certFile } = makeConfig(largeClient, small.certFile);
      const build = () => buildClientSslctx({ certFile, keyFile: client.keyFile });
      assertThrows(build, RangeError, "does not belong to the first certificate");
    });
    await t.step("the only authority", () => {
      const build = () => buildClientSslctx({ caFile: large.certFile });
      const error = assertThrows(build, TlsError, "caFile: certificate 1");
      assertEquals(error.code, "WEAK");
    });
    await t.step("an intermediate is a warning", async () => {
      const { certFile, keyFile } = server;
      const chain = await pki.join("chain.pem", certFile, large.certFile);
      const { warnings } = buildServerSslctx(
        makeConfig({ certFile: chain, keyFile }, small.certFile),
      );
      assertEquals(warnings.length, 1);
      assertMatch(warnings[0]!, makeMessagePattern("certFile: certificate 2", "large"));
    });

    const bothFile = await pki.join("both.pem", large.certFile, small.certFile, large.certFile);
    const forServer = makeConfig(server, bothFile);
    const forClient = makeConfig(client, bothFile);
    const warning = makeMessagePattern(
      "caFile: certificate 1 in .*",
      "large",
      ": it is not trusted",
    );
    for (const { warnings } of [buildServerSslctx(forServer), buildClientSslctx(forClient)]) {
      assertEquals(warnings.length, 1);
      assertMatch(warnings[0]!, warning);
    }
    await t.step("peers of the usable authority are accepted", async () => {
      const trust = { serverSslconfig: forServer, clientSslconfig: forClient };
      await using endpoint = await startTls(trust, app);
      assertEquals((await endpoint.client.request("GET", "/")).status, 204);
    });
    await t.step("the log of a server names the authority once, and each new problem", async () => {
      const trust = { serverSslconfig: forServer, clientSslconfig: forClient };
      await using endpoint = await startTls(trust, app);
      const { server, logger } = endpoint;
      await server.ready;
      server.setSslctx(forServer);
      const getWarnings = () => logger.lines.filter(([level]) => level === "warn");
      assertEquals(getWarnings().length, 1);
      assertMatch(getWarnings()[0]![1], warning);
      const textConfig = { ...await readTexts(forServer), allowUnauthenticatedClients: true };
      server.setSslctx(textConfig);
      assertMatch(
        getWarnings()[1]![1],
        makeMessagePattern("ca: certificate 1 in the text", "large", ": it is not trusted"),
      );
    });
    await t.step("a client of the other authority is refused", async () => {
      const trust = {
        serverSslconfig: forServer,
        clientSslconfig: makeConfig(certificates.clientOfLarge, bothFile),
      };
      await using endpoint = await startTls({ ...trust }, app);
      await assertRejects(() => endpoint.client.request("GET", "/"));
      const [line] = await endpoint.logger.waitFor("info");
      assertMatch(line!, /the handshake failed: UNTRUSTED: /);
    });
    await t.step("a server of the other authority is refused", async () => {
      const serverSslconfig = makeConfig(certificates.serverOfLarge, small.certFile);
      await using endpoint = await startTls({ serverSslconfig, clientSslconfig: forClient }, app);
      const error = await assertRejects(() => endpoint.client.connect(), TlsError);
      assertEquals(error.code, "UNTRUSTED");
    });

    const clientSslconfig = makeConfig(client, small.certFile);
    await t.step("a server with such a key is refused", async () => {
      const options = await readTexts(makeConfig(largeServer, small.certFile));
      await using raw = await serveNodeTls(options, () => {});
      const sslClient = new SSLClient(clientSslconfig, raw.address);
      const error = await assertRejects(() => sslClient.connect(), TlsError);
      assertEquals(error.code, "WEAK");
      assertMatch(error.message, new RegExp(TOO_LARGE));
    });
    await t.step("a client with such a key is refused", async () => {
      const serverSslconfig = makeConfig(server, small.certFile);
      await using endpoint = await startTls({ serverSslconfig, clientSslconfig }, app);
      const [host, port] = endpoint.server.address as [string, number];
      const identity = await readTexts(makeConfig(largeClient, small.certFile));
      const socket = tls.connect({ host, port, ...identity });
      socket.on("error", () => {});
      const closed = once(socket, "close");
      socket.resume();
      const [line] = await endpoint.logger.waitFor("info");
      assertMatch(
        line!,
        /the handshake failed: WEAK: the client's certificate has a key of an unsupported kind or size/,
      );
      await closed;
    });
  },
);

Deno.test("an authority whose key is too weak is not trusted", needsOpenssl, async () => {
  await using pki = await OpensslPki.create();
  const weak = await pki.createAuthority("weak", { key: KEY.rsa1024 });
  const usable = await pki.createAuthority("good");
  const error = assertThrows(() => buildClientSslctx({ caFile: weak.certFile }), TlsError);
  assertEquals(error.code, "WEAK");
  assertMatch(
    error.message,
    /^caFile: certificate 1 .* has an RSA key of 1024 bits; must be .* 4096 bi/,
  );
  const bothFile = await pki.join("both.pem", usable.certFile, weak.certFile);
  const { warnings } = buildClientSslctx({ caFile: bothFile });
  assertEquals(warnings.length, 1);
  assertMatch(
    warnings[0]!,
    /^caFile: certificate 2 .*, of "CN=weak", has an RSA key .* is not trusted$/,
  );
});

Deno.test(
  "RSA keys of 4096 bits are accepted for clients, servers and authorities",
  needsOpenssl,
  async () => {
    await using pki = await OpensslPki.create();
    const authority = await pki.createAuthority("authority", { keyOf: findKey("rsa_4096.pem") });
    const options = { issuer: authority, keyOf: authority };
    const server = await pki.createServerCertificate("server", options);
    const client = await pki.createClientCertificate("client", options);
    await using endpoint = await startTls({
      serverSslconfig: makeConfig(server, authority.certFile),
      clientSslconfig: makeConfig(client, authority.certFile),
    }, app);
    assertEquals(endpoint.server.sslctx.warnings, []);
    assertEquals((await endpoint.client.request("GET", "/")).status, 204);
  },
);
