/**
 * Servers with default options, beside connections of one peer that make requests, drip bytes, or
 * begin handshakes, and reconnect at once. The client has another address, or over TLS another key.
 */
import { Client, retry, SSLClient } from "@degu/degu/client";
import { SSLServer } from "@degu/degu/server";
import { createIdentity } from "../../net/tls/certificates.ts";
import { createTempDir, fill } from "@degu/testing/directories.ts";
import { makeProgramCommand, RunningProcess } from "@degu/testing/processes.ts";
import { RecordingLogger, runServer, serve } from "@degu/testing/serving.ts";
import { assert, assertEquals } from "@std/assert";

/**
 * The maximum number of sessions that the server ends before the client is served. In the order of
 * their arrival, the server would end hundreds of sessions for connections of the flood.
 */
const MAX_ENDED = 200;
const REQUESTS = 4;

const get = "GET / HTTP/1.1\r\n\r\n";
/** What a connection sends at once, what it sends after each interval, and the milliseconds. */
const kinds: Record<string, readonly [start: string, drip: string, interval: string]> = {
  "make requests": [get, get, "700"],
  "send requests in pieces": ["GET / HTTP/1.1\r\n", "\r\nGET / HTTP/1.1\r\n", "700"],
  "drip bytes": ["GET / HTTP/1.1\r\nx: ", "a", "700"],
  "are idle": [get, "", "700"],
};

/** Starts the connections, and asserts that a client is served beside them. */
async function assertServed(
  args: readonly string[],
  client: Client,
  logger: RecordingLogger,
): Promise<void> {
  const flags = [
    "--allow-net",
    "--allow-read",
    "--unsafely-ignore-certificate-errors=127.0.0.1",
  ];
  await using flood = new RunningProcess(
    makeProgramCommand("slow_peers.ts", { flags, args }).spawn(),
  );
  await flood.waitForStdout(/open/);
  const countEnded = () =>
    logger.lines.filter(([, text]) => text.includes("waited for a slot")).length;
  for (let i = 0; i < REQUESTS; i++) {
    const startCount = countEnded();
    const response = await retry(() => client.request("GET", "/"), { retries: 5 });
    assertEquals([response.status, await response.text()], [200, "hello"]);
    const endedCount = countEnded() - startCount;
    assert(endedCount < MAX_ENDED, `${endedCount} sessions ended before the client was served`);
  }
}

const app = () => [200, "OK", {}, "hello"] as const;

for (const [kind, [start, drip, interval]] of Object.entries(kinds)) {
  for (const count of ["50", "600"]) {
    Deno.test(`a client is served beside ${count} connections of another address that ${kind}`, async () => {
      await using serving = serve(app, {}, ["::", 0]);
      const { port } = serving.server;
      const client = new Client(["::1", port!], { timeout: 10 });
      const args = [`${port}`, count, interval, start, drip, "read", "one"];
      await assertServed(args, client, serving.logger);
    });
  }
}

for (const kind of ["make requests", "drip bytes", "begin a handshake"]) {
  Deno.test(`a client is served over TLS beside 600 connections that ${kind}`, async () => {
    const camera = createIdentity("camera");
    const flooder = createIdentity("flooder");
    const identity = createIdentity("client");
    await using dir = await createTempDir();
    await fill(dir.path, {
      "cert.pem": flooder.cert,
      "key.pem": flooder.key,
      "ca.pem": camera.ca,
    });
    const logger = new RecordingLogger();
    const sslconfig = { ...camera, ca: [flooder.ca, identity.ca] };
    const server = new SSLServer(sslconfig, ["::", 0], app, { logger });
    await using _serving = runServer(server, logger);
    await server.ready;
    const trust = { ...identity, ca: camera.ca, checkHostname: false };
    const client = new SSLClient(trust, ["::1", server.port!], { timeout: 10 });
    const files = ["cert.pem", "key.pem", "ca.pem"].map((name) => `${dir.path}/${name}`);
    const [start, drip, interval] = kinds[kind] ?? ["\x16\x03\x01\x02\x01", "", "700"];
    const args = [`${server.port}`, "600", interval, start, drip, "read"];
    await assertServed([...args, ...(kind in kinds ? files : ["one"])], client, logger);
  });
}
