// deno run --allow-net --allow-read=gateway-device,camera.socket --allow-write=gateway-device,camera.socket --allow-sys=uid examples/gateway.ts

// Lets paired devices use services of this machine, each of them only as the rules say. The
// services need neither TLS nor rules of their own: one listens at a Unix socket, and one is a
// fetch handler. A device is paired once, after this program has begun, which makes its device, and
// under the name that the rules have for it:
//   degu --home gateway-device pair --as phone

import {
  accessLog,
  type App,
  Client,
  ConnectionPool,
  ProxyApp,
  reply,
  type Requester,
  routes,
} from "@degu/degu";
import { type FetchHandlerInfo, fromFetchHandler } from "@degu/degu";
import { Device, peerOf, perPeer } from "@degu/degu/device";
import { Hono } from "hono";

// ───────────────────────── the services

const texts: string[] = [];
const hono = new Hono<{ Bindings: FetchHandlerInfo }>();
hono.get("/", (c) => c.json(texts));
hono.post("/", (c) => {
  texts.push(`${peerOf(c.env.session).name}: ${c.req.query("text")}`);
  if (texts.length > 100) texts.shift();
  return c.json(texts, 201);
});
const notes = fromFetchHandler(hono);

// ───────────────────────── the rules

/**
 * Makes the app for all peers: each one sees only what the rules have for its name.
 *
 * @param upstream Makes the requests to the camera.
 */
export function buildGateway(upstream: Requester): App {
  // The camera learns from a header who asks, which no peer can forge.
  const camera = new ProxyApp(upstream, {
    headers: (_, session) => ({ "x-peer": peerOf(session).name }),
  });
  const reading = (app: App) => routes({ "GET /": app, "GET /{path...}": app });
  const writing = (app: App) => routes({ "POST /": app });
  const rules = new Map<string, App>([
    ["phone", routes({ "/camera/": camera, "/notes/": notes })],
    ["tablet", routes({ "/camera/": reading(camera) })],
    ["doorbell", routes({ "/notes/": writing(notes) })],
  ]);
  const nothing: App = () => reply(403);
  return perPeer(({ name }) => rules.get(name) ?? nothing);
}

if (import.meta.main) {
  const [host = "0.0.0.0", port = "7444"] = Deno.args;
  await using gateway = await Device.open(`${Deno.cwd()}/gateway-device`, { name: "gateway" });
  await using camera = new ConnectionPool(new Client(`${Deno.cwd()}/camera.socket`));
  const app = buildGateway(camera);
  const onExchange = accessLog(console.log);
  await using server = await gateway.serve([host, Number(port)], app, { onExchange });
  console.log("Serving; Ctrl+C ends it.");
  await server.serveUntilSignal();
}
