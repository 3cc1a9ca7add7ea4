/**
 * A client and a server in one process, with the library of a directory. Replies to each command
 * with the processor time of an exchange in microseconds. The arguments are the URL of the
 * directory, the name of a job, `reused` or `new` for the connection, and TLS files.
 */

import type { Client, Connection } from "../../client.ts";
import type { Response } from "../../base.ts";
import type * as Library from "../../mod.ts";
import type { App } from "../../server.ts";
import { requestHeaders, responseHeaders } from "../messages.ts";
import { hostname, replyToCommands, type TlsFiles } from "../peer.ts";

type Requester = Pick<Client | Connection, "request">;

interface Job {
  readonly app: (library: typeof Library) => App;
  readonly exchange: (requester: Requester, library: typeof Library) => Promise<unknown>;
}

/** The number of parts of a measurement, of which the shortest counts. */
const partCount = 5;

const payload = new Uint8Array(64 * 1024);

const sendGet = async (requester: Requester) => {
  return await consumeResponse(await requester.request("GET", "/", {}, null));
};

/** The available jobs, by name. */
export const jobs: Readonly<Record<string, Job>> = {
  "a GET": { app: () => () => [200, "OK", {}, new Uint8Array(108)], exchange: sendGet },
  "a GET with twelve headers": {
    app: () => () => [200, "OK", responseHeaders, null],
    exchange: async (requester) => {
      return await consumeResponse(await requester.request("GET", "/", requestHeaders, null));
    },
  },
  "a PUT of 64 KiB": {
    app: () => async ({ body }) => {
      await body!.bytes();
      return [200, "OK", {}, null];
    },
    exchange: async (requester) =>
      consumeResponse(await requester.request("PUT", "/", {}, payload)),
  },
  "a GET of 64 KiB in chunks": {
    app: ({ ChunkedBodyIter }) => () => {
      const chunks = Array.from(
        { length: 4 },
        (_, i) => payload.subarray(i * 16384, (i + 1) * 16384),
      );
      const allChunks = [...chunks, new Uint8Array()].map((data) => [null, data] as const);
      return [200, "OK", {}, new ChunkedBodyIter(allChunks)];
    },
    exchange: sendGet,
  },
};

async function consumeResponse({ status, body }: Response): Promise<void> {
  if (status !== 200) throw new Error(`status ${status}`);
  await body?.bytes();
}

if (import.meta.main) {
  const [root, name = "", reuse, json = "null"] = Deno.args;
  const library: typeof Library = await import(`${root}mod.ts`);
  const tls: TlsFiles | null = JSON.parse(json);
  const { app, exchange } = jobs[name]!;
  const options = { maxConnections: 100, maxRequests: Infinity };
  const server = tls === null
    ? new library.Server([hostname, 0], app(library), options)
    : new library.SSLServer(tls.server, [hostname, 0], app(library), options);
  await server.ready;
  server.serveForever();
  const client = tls === null
    ? new library.Client(server.address)
    : new library.SSLClient({ ...tls.client, checkHostname: false }, server.address);
  const requester = reuse === "reused" ? await client.connect() : client;
  await replyToCommands(null, {
    // Return the shortest part, because other load on the machine only makes a part longer.
    async run(amount) {
      const count = Math.ceil(amount / partCount);
      let minMicroseconds = Infinity;
      for (let part = 0; part < partCount; part++) {
        const startMicroseconds = processorMicroseconds();
        for (let i = 0; i < count; i++) await exchange(requester, library);
        minMicroseconds = Math.min(
          minMicroseconds,
          (processorMicroseconds() - startMicroseconds) / count,
        );
      }
      return minMicroseconds;
    },
  });
}

function processorMicroseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}
