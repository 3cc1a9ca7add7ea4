/**
 * Resuming TLS sessions of clients that are no longer trusted; and the TLS records of clients and
 * servers: application data, and the alert at the end (RFC 9112 §9.7, §9.8).
 */
import * as tls from "node:tls";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Address, BodyIter } from "@degu/degu/base";
import type { ServerSslconfig } from "@degu/degu/server";
import { getIssuerKeys, rememberVerifiedClient } from "@degu/internal/net/tls/peer.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import {
  openSharedPki,
  readIdentity,
  serveRaw,
  startTls,
  type TlsEndpoint,
} from "@degu/testing/tls_endpoints.ts";
import { type IssuedCertificate, needsOpenssl, OpensslPki, runWithInput } from "./tls_openssl.ts";
import { once } from "node:events";
import { type Connection, SSLClient } from "@degu/degu/client";
import { passOn, Relay } from "@degu/testing/cutting_relay.ts";
import { waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { decodeLatin1 } from "@degu/testing/wire_grammar.ts";

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

// ───────────────────────── records, and the alert at the end

const pki = await openSharedPki();

/** Types of records (RFC 5246 §6.2.1), which TLS 1.2 doesn't encrypt. */
const ALERT = 21, APPLICATION_DATA = 23;

/** The bytes of one direction of a connection, as the relay receives them. */
class Direction {
  #text = "";
  readonly #ended = Promise.withResolvers<"end" | "reset">();

  add = (bytes: Uint8Array): void => void (this.#text += decodeLatin1(bytes));
  finish = (ending: "end" | "reset"): void => this.#ended.resolve(ending);

  get text(): string {
    return this.#text;
  }

  /** Resolves to the way in which the direction ends. */
  get ended(): Promise<"end" | "reset"> {
    return withTimeout(this.#ended.promise, "the connection ends");
  }

  /** The types of the records after the handshake, without repetitions. */
  get types(): number[] {
    const types: number[] = [];
    for (let at = 0; at + 5 <= this.#text.length;) {
      const [type, high, low] = [0, 3, 4].map((i) => this.#text.charCodeAt(at + i));
      if (types.at(-1) !== type) types.push(type!);
      at += 5 + high! * 256 + low!;
    }
    return types.slice(types.indexOf(APPLICATION_DATA));
  }
}

/** A relay that records the bytes of a connection. */
class RecordRelay extends Relay {
  readonly fromClient = new Direction();
  readonly fromServer = new Direction();

  /** The promise that the relay waits for before it relays more of a response. */
  released: Promise<void> = Promise.resolve();

  protected relay(client: Deno.Conn, server: Deno.Conn): Promise<void>[] {
    // The way in which a direction ends is that of its source. Its target may have closed already.
    const pump = (from: Deno.Conn, to: Deno.Conn, direction: Direction) => {
      const target = {
        write: (bytes: Uint8Array) => to.write(bytes).catch(() => bytes.length),
        closeWrite: () => to.closeWrite().catch(() => {}),
      };
      return passOn(from, target, async (bytes) => {
        direction.add(bytes);
        // With the alert of the server unread, the close of the client would be a reset.
        if (direction === this.fromClient && bytes[0] === ALERT) {
          this.released = direction.ended.then(() => {});
        }
        if (direction === this.fromServer) await this.released;
      })
        .then(() => direction.finish("end"), () => direction.finish("reset"));
    };
    return [pump(client, server, this.fromClient), pump(server, client, this.fromServer)];
  }
}

const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
const TLS_1_2 = { maxVersion: "TLSv1.2" } as const;

/**
 * Connects a client to a server of `node:tls` that responds to each request except for `/silent`.
 */
async function connectThrough() {
  const requested = Promise.withResolvers<void>();
  const server = await serveRaw(pki, (socket) => {
    socket.on("data", (bytes: Uint8Array) => {
      const text = decodeLatin1(bytes);
      if (text.includes("/silent")) requested.resolve();
      else socket.write(text.includes("/cut") ? OK.replace("length: 2", "length: 3") : OK);
    });
  }, TLS_1_2);
  const relay = new RecordRelay(server.address);
  const client = new SSLClient(pki.clientSslconfig, relay.address, { timeout: 60 });
  return {
    relay,
    conn: await client.connect(),
    requested: requested.promise,
    async [Symbol.asyncDispose]() {
      await relay[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

Deno.test("a client sends HTTP as application data, and an alert before it closes a connection", async (t) => {
  const rows: [label: string, close: (conn: Connection) => Promise<void> | void][] = [
    ["at rest", (conn) => conn.close()],
    ["in the body of a response", async (conn) => {
      await conn.get("/cut");
      conn.close();
    }],
    ["after connection: close", async (conn) => {
      await (await conn.get("/", { connection: "close" })).text();
    }],
  ];
  await testEachRow(t, rows, async (_label, close) => {
    await using connected = await connectThrough();
    const { relay, conn } = connected;
    assertEquals(await (await conn.get("/")).text(), "hi");
    assertEquals(conn.sock.protocol, "TLSv1.2");
    await close(conn);
    assertEquals(await relay.fromClient.ended, "end");
    assertEquals(relay.fromClient.types, [APPLICATION_DATA, ALERT]);
    assert(!relay.fromClient.text.includes("GET"));
  });
});

Deno.test("a client that abandons a request sends no alert, and resets its connection", async () => {
  await using connected = await connectThrough();
  const { relay, conn, requested } = connected;
  const stop = new AbortController();
  const response = conn.get("/silent", {}, { signal: stop.signal }).catch(() => {});
  await withTimeout(requested, "the server has the request");
  stop.abort();
  await response;
  assertEquals(await relay.fromClient.ended, "reset");
  assertEquals(relay.fromClient.types, [APPLICATION_DATA]);
});

/** Connects a client of `node:tls`. */
async function connectTls(relay: RecordRelay): Promise<tls.TLSSocket> {
  const port = Number(relay.address[1]);
  const identity = await readIdentity(pki);
  const socket = tls.connect({ host: "127.0.0.1", port, ...identity, ...TLS_1_2 });
  await withTimeout(once(socket, "secureConnect"), "the handshake ends");
  return socket;
}

Deno.test("a server sends HTTP as application data, and an alert before it closes a session", async (t) => {
  const rows: [label: string, header: string, close: (endpoint: TlsEndpoint) => void][] = [
    ["after connection: close", "connection: close\r\n", () => {}],
    ["close() while it is idle", "", ({ server }) => server.close()],
    ["close() of the session", "", ({ server }) => [...server.sessions][0]!.close()],
  ];
  await testEachRow(t, rows, async (_label, header, close) => {
    await using endpoint = await startTls(pki, () => [200, "OK", {}, "hi"]);
    await using relay = new RecordRelay(endpoint.server.address);
    const socket = await connectTls(relay);
    const received = once(socket, "data");
    socket.write(`GET / HTTP/1.1\r\n${header}\r\n`);
    await withTimeout(received, "a response");
    close(endpoint);
    assertEquals(await relay.fromServer.ended, "end");
    assertEquals(relay.fromServer.types, [APPLICATION_DATA, ALERT]);
    assert(!relay.fromServer.text.includes("HTTP/1.1"));
    socket.destroy();
  });
});

Deno.test("a server sends no alert if a session is closed in the middle of a response", async () => {
  let pieces = 0;
  const makeEndlessPieces = function* () {
    for (;;) {
      pieces++;
      yield new Uint8Array(262144);
    }
  };
  const app = () => [200, "OK", {}, new BodyIter(makeEndlessPieces(), 2 ** 40)] as const;
  await using endpoint = await startTls(pki, app);
  await using relay = new RecordRelay(endpoint.server.address);
  const socket = await connectTls(relay);
  const { promise, resolve } = Promise.withResolvers<void>();
  relay.released = promise;
  socket.on("error", () => {});
  // After the release, the relay passes on what is in the buffers of TCP.
  socket.resume();
  socket.write("GET / HTTP/1.1\r\n\r\n");
  // The server waits for the network when the number of pieces no longer grows.
  for (let previousPieces = -1, unchangedTicks = 0; unchangedTicks < 20;) {
    await waitForTick();
    unchangedTicks = previousPieces === pieces && pieces > 0 ? unchangedTicks + 1 : 0;
    previousPieces = pieces;
  }
  [...endpoint.server.sessions][0]!.close();
  resolve();
  await relay.fromServer.ended;
  assertEquals(relay.fromServer.types, [APPLICATION_DATA]);
  socket.destroy();
});
