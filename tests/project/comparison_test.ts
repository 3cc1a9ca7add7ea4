/** The comparisons of README.md with `node:https` and `Deno.createHttpClient`, in the same Deno. */
import { type App, Client, reply, SSLClient } from "@degu/degu";
import {
  type Address,
  BodyIter,
  ChunkedBody,
  ChunkedBodyIter,
  type Response,
} from "@degu/degu/base";
import { TempPKI } from "@degu/degu/misc";
import { peerOf } from "@degu/degu/device";
import { TempDevices } from "@degu/degu/device/testing";
import { download } from "@degu/degu/files";
import { sha256Of } from "../../files/tests/bundles.ts";
import { setClockAhead } from "@degu/testing/clock.ts";
import { makeDenoCommand, runCommand } from "@degu/testing/commands.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { createTempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { startTls } from "@degu/testing/tls_endpoints.ts";
import { randomBytes, serveFiles } from "@degu/testing/transferring.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { once } from "node:events";
import type { RequestListener } from "node:http";
import { createServer, type Server, type ServerOptions } from "node:https";
import type { ListenOptions } from "node:net";
import type { TLSSocket } from "node:tls";

const readFiles = async ({ serverSslconfig: server, clientSslconfig: client }: TempPKI) => ({
  server: {
    cert: await Deno.readTextFile(server.certFile),
    key: await Deno.readTextFile(server.keyFile),
    ca: await Deno.readTextFile(server.caFile!),
  },
  client: {
    cert: await Deno.readTextFile(client.certFile!),
    key: await Deno.readTextFile(client.keyFile!),
    ca: await Deno.readTextFile(client.caFile!),
  },
});

Deno.test("a client trusts only the authorities that it names; Deno.createHttpClient adds them to those of the process", async () => {
  await using pki = await TempPKI.create();
  await using otherPki = await TempPKI.create();
  const { anonymousServerSslconfig: serverSslconfig, anonymousClientSslconfig } = pki;
  const otherCa = otherPki.anonymousClientSslconfig.caFile;
  const sslconfigs = { serverSslconfig, clientSslconfig: anonymousClientSslconfig };
  await using endpoint = await startTls(sslconfigs, () => reply(200, "hello"));
  const { port } = endpoint.server;
  const client = new SSLClient({ caFile: otherCa, checkHostname: false }, ["127.0.0.1", port!]);
  await assertRejects(() => client.get("/"), Error, "certificate was refused");
  await using dir = await createTempDir();
  const path = `${dir.path}/fetch.ts`;
  await Deno.writeTextFile(
    path,
    `const caCerts = [await Deno.readTextFile(${JSON.stringify(otherCa)})];
     const response = await fetch("https://localhost:${port}/", {
       client: Deno.createHttpClient({ caCerts }),
     });
     console.log(await response.text());`,
  );
  const command = makeDenoCommand(["--allow-net", "--allow-read"], path);
  const env = { DENO_CERT: anonymousClientSslconfig.caFile };
  const { stdout, stderr } = await runCommand(command, { env });
  assertEquals(stdout, "hello\n", stderr);
});

Deno.test("a session ends when its client isn't trusted any more; node:https serves the connection on", async () => {
  await using pki = await TempPKI.create();
  await using otherPki = await TempPKI.create();
  const [files, otherFiles] = [await readFiles(pki), await readFiles(otherPki)];

  await using endpoint = await startTls(pki, () => reply(200, "hello"));
  using conn = await endpoint.client.connect();
  assertEquals(await (await conn.get("/")).text(), "hello");
  endpoint.server.setSslctx(otherPki.serverSslconfig);
  await assertRejects(() => conn.get("/"));

  await using node = await startNode(files.server, (_request, response) => response.end("hello"));
  using nodeConn = await clientOf(node.server, pki).connect();
  assertEquals(await (await nodeConn.get("/")).text(), "hello");
  node.server.setSecureContext({ ...files.server, ca: otherFiles.server.ca });
  assertEquals(await (await nodeConn.get("/")).text(), "hello");
});

/** Makes a client of a server of `node:https`. */
function clientOf(server: Server, { clientSslconfig }: Pick<TempPKI, "clientSslconfig">) {
  const bound = server.address()!;
  const address: Address = typeof bound === "string" ? bound : [bound.address, bound.port];
  return new SSLClient(clientSslconfig, address, { host: "localhost", sslHost: "localhost" });
}

/** Starts a server of `node:https` on a free port; it is closed on dispose. */
async function startNode(
  sslconfig: ServerOptions,
  listener: RequestListener,
  address: ListenOptions = { host: "127.0.0.1", port: 0 },
) {
  const server = createServer({ ...sslconfig, requestCert: true }, listener);
  await new Promise<void>((resolve) => server.listen(address, resolve));
  return {
    server,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

Deno.test("Degu and node:https ask for client certificates on 127.0.0.1, ::1 and a Unix socket", async () => {
  await using pki = await TempPKI.create();
  const files = await readFiles(pki);
  await using dir = await createTempDir();
  for (const address of [["127.0.0.1", 0], ["::1", 0], `${dir.path}/degu`] as const) {
    await using endpoint = await startTls(
      pki,
      (_, { peerCertificate }) => {
        return reply(200, peerCertificate!.subject);
      },
      {},
      address,
    );
    assertEquals(await (await endpoint.client.get("/")).text(), "CN=TempPKI client");

    const nodeAddress = typeof address === "string"
      ? { path: `${dir.path}/node` }
      : { host: address[0], port: 0 };
    await using node = await startNode(files.server, ({ socket }, response) => {
      response.end(`CN=${(socket as TLSSocket).getPeerCertificate().subject.CN}`);
    }, nodeAddress);
    const client = clientOf(node.server, pki);
    assertEquals(await (await client.get("/")).text(), "CN=TempPKI client");
  }
});

async function countBytes({ body }: Response): Promise<number> {
  let count = 0;
  for await (const { length } of body!.readable) count += length;
  return count;
}

const PIECE = new Uint8Array(1 << 20);
/** More than the buffers of a connection on loopback can contain. */
const PIECES = 64;

Deno.test("a server ends the wait for a client that reads no response; node:https doesn't, although its other limits are as short", async () => {
  await using pki = await TempPKI.create();
  const { server: sslconfig } = await readFiles(pki);
  const makeBody = () => ReadableStream.from(Array.from({ length: PIECES }, () => PIECE));
  const app = () => reply(200, makeBody());
  await using endpoint = await startTls(pki, app, { server: { timeout: 1 } });
  const limits = { requestTimeout: 1000, headersTimeout: 1000, connectionsCheckingInterval: 100 };
  await using node = await startNode({ ...sslconfig, ...limits }, async (_request, response) => {
    for (let i = 0; i < PIECES; i++) {
      if (!response.write(PIECE)) await once(response, "drain");
    }
    response.end();
  });
  const nodeClient = clientOf(node.server, pki);
  using nodeConn = await nodeClient.connect();
  const nodeResponse = await nodeConn.get("/");
  using conn = await endpoint.client.connect();
  const response = await conn.get("/");
  await endpoint.logger.waitFor("info", "ConnectionError: the peer");
  await assertRejects(() => countBytes(response));
  assertEquals(await countBytes(nodeResponse), PIECES * PIECE.length);
});

Deno.test("a server ends the wait for the next bytes of a request by default; node:https waits 300 seconds for the whole request", async () => {
  await using pki = await TempPKI.create();
  const { server: sslconfig } = await readFiles(pki);
  await using node = await startNode(sslconfig, async (request, response) => {
    let length = 0;
    for await (const piece of request) length += piece.length;
    response.end(`${length} bytes`);
  });
  assertEquals([node.server.timeout, node.server.requestTimeout], [0, 300_000]);
  await using endpoint = await startTls(pki, async (request) => {
    return reply(200, `${(await request.bytes()).length} bytes`);
  }, { server: { timeout: 1 } });
  const sendRemainder = Promise.withResolvers<void>();
  const makeBody = () =>
    new BodyIter(
      async function* () {
        yield new Uint8Array(1);
        await sendRemainder.promise;
        yield new Uint8Array(9);
      }(),
      10,
    );
  const nodeResponse = clientOf(node.server, pki).put("/", {}, makeBody());
  const response = endpoint.client.put("/", {}, makeBody()).then(
    ({ status }) => status,
    (error) => error,
  );
  await endpoint.logger.waitFor("info", "ConnectionError: the peer");
  sendRemainder.resolve();
  assert(await response !== 200);
  assertEquals(await (await nodeResponse).text(), "10 bytes");
});

Deno.test("an app returns the response of a client as it is; Deno.serve doesn't send the reason of a response of fetch", async () => {
  const makeResponse: App = () => {
    const chunks: [[string, string] | null, Uint8Array<ArrayBuffer>][] = [
      [["sensor", "1"], new Uint8Array(2)],
      [null, new Uint8Array(3)],
      [null, new Uint8Array(0)],
    ];
    return [200, "Warm", { server: "sensor" }, new ChunkedBodyIter(chunks)];
  };
  await using backend = serve(makeResponse);
  const backendClient = new Client(backend.address);
  await using front = serve(() => backendClient.get("/"));
  const response = await new Client(front.address).get("/");
  const chunks = [];
  assert(response.body instanceof ChunkedBody);
  for await (const [extension, data] of response.body) chunks.push([extension, data.length]);
  assertEquals([response.status, response.reason, response.headers.server], [
    200,
    "Warm",
    "sensor",
  ]);
  assertEquals(chunks, [[["sensor", "1"], 2], [null, 3], [null, 0]]);

  const url = `http://127.0.0.1:${backend.address[1]}/`;
  await using fetchFront = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => {
    return fetch(url);
  });
  const fetchResponse = await new Client(["127.0.0.1", fetchFront.addr.port]).get("/");
  assertEquals([fetchResponse.status, fetchResponse.reason], [200, "OK"]);
  assertEquals((await fetchResponse.bytes()).length, 5);
});

Deno.test("an app gets the name of each paired device; node:https gives the name in the certificate, which two clients can share", async () => {
  await using temp = await TempDevices.create("lamp", "phone", "tablet");
  const { lamp, ...guests } = temp.devices;
  const subjects = new Set<string>();
  await using server = await lamp!.serve(["127.0.0.1", 0], (_request, session) => {
    subjects.add(session.peerCertificate!.subject);
    return reply(200, peerOf(session).name);
  });
  for (const [name, guest] of Object.entries(guests)) {
    const client = await guest!.client("lamp", { addresses: [server.address] });
    assertEquals(await (await client.get("/")).text(), name);
  }
  assertEquals(subjects.size, 1);

  await using pki = await TempPKI.create();
  await using otherPki = await TempPKI.create();
  const [files, otherFiles] = [await readFiles(pki), await readFiles(otherPki)];
  const ca = [files.server.ca, otherFiles.server.ca];
  const { caFile } = pki.clientSslconfig;
  await using node = await startNode({ ...files.server, ca }, ({ socket }, response) => {
    response.end((socket as TLSSocket).getPeerCertificate().subject.CN);
  });
  for (const { clientSslconfig } of [pki, otherPki]) {
    const client = clientOf(node.server, { clientSslconfig: { ...clientSslconfig, caFile } });
    assertEquals(await (await client.get("/")).text(), "TempPKI client");
  }
});

Deno.test("a download continues after a failure, and is verified; the body of fetch ends", async () => {
  await using files = await serveFiles();
  const content = randomBytes(4_000_000);
  await Deno.writeFile(`${files.serverDir}/photo`, content);
  using _clock = setClockAhead();
  await using relay = new CuttingRelay(files.serving.address);
  relay.cutAfter(2_000_000);
  await assertRejects(async () => {
    const response = await fetch(`http://127.0.0.1:${relay.address[1]}/photo`);
    return await response.bytes();
  });
  relay.cutAfter(2_000_000);
  const client = new Client(relay.address);
  const target = `${files.clientDir}/photo`;
  await assertRejects(() => download(client, "/photo", target));
  relay.cutAfter(Infinity);
  const { bytes, resumedFrom, sha256 } = await download(client, "/photo", target);
  assert(resumedFrom > 0);
  assertEquals(bytes + resumedFrom, content.length);
  assertEquals(sha256, sha256Of(content));
  assertEquals(await Deno.readFile(target), content);
});
