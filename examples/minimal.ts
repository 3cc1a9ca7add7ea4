// deno run --allow-net=127.0.0.1 examples/minimal.ts

import { type App, Client, reply, Server } from "@degu/degu";

// An app gets a request and returns status, reason, headers and body. The client receives exactly these.
const app: App = ({ path }) => reply(200, `You have asked for ${path.join(", then ")}.`);

await using server = await Server.start(["127.0.0.1", 0], app);

using conn = await new Client(server.address).connect();
const response = await conn.get("/some/thing");
console.log(response);
console.log(await response.text());
