// deno run --allow-net=127.0.0.1 examples/minimal.ts

import { type App, Client, Server } from "@degu/degu";

// An app gets a request and returns status, reason, headers and body. The client receives exactly these.
const app: App = (request) => {
  const text = `You have asked for ${request.path.join(", then ")}.`;
  return [200, "OK", { "content-type": "text/plain" }, new TextEncoder().encode(text)];
};

await using server = new Server(["127.0.0.1", 0], app);
server.serveForever();

using conn = await new Client(server.address).connect();
const response = await conn.get("/some/thing");
console.log(response);
console.log(await response.body?.text());
