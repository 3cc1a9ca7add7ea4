// A trace from a client to a server. Run with OTEL_DENO=true, so that there is a tracer.
import { Client, Server } from "@degu/degu";
import { tracedApp, tracedClient } from "@degu/degu/otel";
import { assertMatch } from "@std/assert";

const app = tracedApp(({ headers }) => {
  return [200, "OK", { "x-parent": headers["traceparent"] ?? "none" }, null];
});
await using server = new Server(["127.0.0.1", 0], app);
server.serveForever();
const client = tracedClient(new Client(server.address));
const response = await client.request("GET", "/");
assertMatch(String(response.headers["x-parent"]), /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
console.log("the server continues the trace of the client");
