/** Late bytes of a response without framing are never read as the response to another request. */

import {
  Client,
  type ClientOptions,
  ConnectionPool,
  createFetch,
  ProxyApp,
  type Requester,
  SSLClient,
} from "@degu/degu";
import { serveNodeTls } from "@degu/testing/raw_tls.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { openSharedPki } from "@degu/testing/tls_endpoints.ts";
import { readTexts } from "@degu/testing/tls_configs.ts";
import { assertEquals } from "@std/assert";
import { once } from "node:events";
import * as net from "node:net";

const TRIES = 6;
const DELAYS = [0, 5, 50, 300];

const HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n";
const FORGED = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
const ACCOUNT = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\naccount";

/** Responds to `/file` without framing, and sends a forged response after the delay. */
function attack(socket: net.Socket, delay: number): void {
  let isLate = false;
  socket.on("error", () => {});
  socket.on("data", (bytes) => {
    if (isLate) return;
    if (!String(bytes).includes("/file")) return void socket.write(ACCOUNT);
    isLate = true;
    socket.write(HEAD);
    const timer = setTimeout(() => socket.end(FORGED), delay);
    socket.on("close", () => clearTimeout(timer));
  });
}

async function serveAttack(isEncrypted: boolean, delay: number) {
  if (isEncrypted) {
    const pki = await openSharedPki();
    const { cert, key } = await readTexts(pki.serverSslconfig);
    const server = await serveNodeTls({ cert, key }, (socket) => attack(socket, delay));
    const makeClient = (options: ClientOptions) => {
      return new SSLClient(pki.clientSslconfig, server.address, options);
    };
    return Object.assign(server, { client: makeClient });
  }
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    attack(socket, delay);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  return {
    client: (options: ClientOptions) => new Client(["127.0.0.1", port], options),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      const closed = once(server, "close");
      server.close();
      await withTimeout(closed, "node:net closes");
    },
  };
}

/** Reads a resource for a user. */
type GetText = (uri: string) => Promise<string>;

const makeGet = (requester: Requester): GetText => async (uri) => {
  return await (await requester.request("GET", uri, {}, null)).text();
};
const makeFetchGet = (requester: Requester): GetText => {
  const fetch = createFetch(requester);
  return async (uri) => await (await fetch(uri)).text();
};

/** The ways in which two users share a connection. */
const SHARED: Record<string, (client: Client, stack: AsyncDisposableStack) => Promise<GetText>> = {
  "a pool": (client, stack) => {
    return Promise.resolve(makeGet(stack.use(new ConnectionPool(client, { maxConnections: 1 }))));
  },
  "a ProxyApp": (client, stack) => {
    const { address } = stack.use(serve(stack.use(new ProxyApp(client))));
    return Promise.resolve(makeGet(new Client(address)));
  },
  "a ProxyApp over a connection": async (client, stack) => {
    const { address } = stack.use(
      serve(new ProxyApp(withoutConnect(stack.use(await client.connect())))),
    );
    return makeGet(new Client(address));
  },
  "createFetch over a pool": (client, stack) => {
    return Promise.resolve(
      makeFetchGet(stack.use(new ConnectionPool(client, { maxConnections: 1 }))),
    );
  },
  "createFetch over a connection": async (client, stack) => {
    return makeFetchGet(stack.use(await client.connect()));
  },
};

const withoutConnect = (conn: Requester): Requester => ({
  request: (...args) => conn.request(...args),
});

for (const isEncrypted of [false, true]) {
  for (const unframedNull of [false, true]) {
    const ways = unframedNull ? SHARED : {
      ...SHARED,
      "a connection": async (client: Client, stack: AsyncDisposableStack) => {
        return makeGet(stack.use(await client.connect()));
      },
    };
    const transport = isEncrypted ? "TLS" : "plain";
    const option = unframedNull ? ", with unframedNull" : "";
    for (const [way, open] of Object.entries(ways)) {
      Deno.test(`${way}, ${transport}${option}: a late body is not used as the response to another request`, async () => {
        for (const delay of DELAYS) {
          await using upstream = await serveAttack(isEncrypted, delay);
          const tries = Array.from({ length: TRIES }, async () => {
            await using stack = new AsyncDisposableStack();
            const get = await open(upstream.client({ unframedNull, timeout: 60 }), stack);
            const file = get("/file").catch(String);
            await file;
            return await get("/account").catch(String);
          });
          const responses = await withTimeout(Promise.all(tries), "all tries end");
          assertEquals(
            responses.filter((response) => response.includes("forged")),
            [],
            `${delay} ms`,
          );
          // If the second request uses a new connection, it gets the right response.
          if (way.includes("pool") || way === "a ProxyApp") {
            assertEquals(responses, Array(TRIES).fill("account"), `${delay} ms`);
          }
        }
      });
    }
  }
}
