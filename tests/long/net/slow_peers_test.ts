/** Servers with default options, beside 200 connections whose peers keep them waiting. */
import { BodyIter } from "@degu/degu/base";
import { retry } from "@degu/degu/client";
import type { App } from "@degu/degu/server";
import { makeProgramCommand, RunningProcess } from "@degu/testing/processes.ts";
import { serve } from "@degu/testing/serving.ts";
import { openSharedPki, startTls } from "@degu/testing/tls_endpoints.ts";
import { assert, assertEquals } from "@std/assert";

/**
 * The maximum number of sessions that the server ends before a client is served. A client waits for
 * each connection in the queues before it; on an idle machine, this takes 4 s.
 */
const MAX_ENDED = 600;
const REQUESTS = 3;

const app: App = async ({ uri, body }) => {
  if (uri !== "/large") return [200, "OK", {}, `${(await body?.bytes())?.length}`];
  const piece = new Uint8Array(1_048_576);
  // The buffers of TCP grow up to 36 MiB.
  return [200, "OK", {}, new BodyIter(new Array(64).fill(piece), 64 * piece.length)];
};

/** What a peer sends at once, what it sends now and then, and whether it reads. */
const phases: Record<string, readonly [start: string, drip: string, reading: "read" | "unread"]> = {
  "no byte": ["", "", "read"],
  "the preamble": ["GET / HTTP/1.1\r\nx: ", "a", "read"],
  "a body with a length": ["PUT / HTTP/1.1\r\ncontent-length: 100000\r\n\r\n", "a", "read"],
  "a chunked body": ["PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\na\r\n", "read"],
  "an unread response": ["GET /large HTTP/1.1\r\n\r\n", "G", "unread"],
};

const pki = await openSharedPki();

for (const kind of ["one", "many", "TLS"]) {
  for (const [phase, settings] of Object.entries(phases)) {
    const label = kind === "TLS" ? "over TLS" : `of ${kind} address${kind === "one" ? "" : "es"}`;
    Deno.test(`a client is served beside 200 connections ${label} that stop at ${phase}`, async () => {
      await using endpoint = kind === "TLS" ? await startTls(pki, app) : withClient(serve(app));
      const { client } = endpoint;
      const { certFile = "", keyFile = "" } = pki.clientSslconfig;
      const files = kind === "TLS" ? [certFile, keyFile, pki.clientSslconfig.caFile!] : [kind];
      const command = makeProgramCommand("slow_peers.ts", {
        flags: [
          "--allow-net",
          "--allow-read",
          "--unsafely-ignore-certificate-errors=127.0.0.1",
        ],
        args: [`${endpoint.server.port}`, "200", "2000", ...settings, ...files],
      });
      await using peers = new RunningProcess(command.spawn());
      await peers.waitForStdout(/open/);
      const [level, text] = phase === "no byte"
        ? ["debug", "ended while idle"] as const
        : ["info", "ended for a connection that waited for a slot"] as const;
      await endpoint.logger.waitFor(level, text, 50);
      const countEnded = () =>
        endpoint.logger.messagesOf(level).filter((line) => line.includes(text)).length;
      for (let i = 0; i < REQUESTS; i++) {
        const startCount = countEnded();
        // On a busy machine, a flood of handshakes can displace that of the client: docs/security.md.
        const response = await retry(() => client.request("GET", "/"), { retries: 10 });
        assertEquals([response.status, await response.text()], [200, "undefined"]);
        const endedCount = countEnded() - startCount;
        assert(endedCount < MAX_ENDED, `${endedCount} sessions gave way before the client`);
      }
    });
  }
}

function withClient(serving: ReturnType<typeof serve>) {
  return { ...serving, client: serving.makeClient() };
}
