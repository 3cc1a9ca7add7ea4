/** A traced client sends requests to a traced proxy, which forwards them to a traced app, over real sockets; for tests with a collector. */
import { Client, ProxyApp, Server } from "@degu/degu";
import { tracedApp, tracedClient } from "@degu/degu/otel";

const app = tracedApp({
  onConnect: () => true,
  handle: async (request) => {
    if (request.path[0] === "throws") throw new RangeError("disk on fire");
    await Promise.resolve();
    const status = request.path[0] === "missing" ? 404 : 200;
    return [status, "OK", {}, new TextEncoder().encode(`${request.headers.traceparent}`)];
  },
});
await using backend = new Server(["127.0.0.1", 0], app, { logger: quiet() });
backend.serveForever();
const proxyApp = new ProxyApp(tracedClient(new Client(backend.address)));
await using proxy = new Server(["127.0.0.1", 0], tracedApp(proxyApp));
proxy.serveForever();

const authorization = "Basic c2VjcmV0OnNlY3JldA==";
const client = tracedClient(new Client(proxy.address, { authorization }));
for (const path of ["fine", "missing", "throws"]) {
  using connection = await client.connect();
  const response = await connection.get(`/${path}?token=hidden-token`, { cookie: "hidden-cookie" });
  await response.body?.bytes();
}

function quiet() {
  const log = () => {};
  return { debug: log, info: log, warn: log, error: log };
}
