// deno run --allow-net --allow-read=gateway-device,camera.socket --allow-write=gateway-device,camera.socket --allow-sys=uid examples/gateway.ts

// Gives paired devices access to services of this machine, by rules for each device. The services
// need neither TLS nor their own rules: one listens at a Unix socket, and one is a fetch handler.
// Start this program, which creates its device. Then pair each device once, with its name in the
// rules:
//   degu --home gateway-device pair --as phone

import {
  accessLog,
  type App,
  Client,
  ConnectionPool,
  type FetchHandlerInfo,
  fromFetchHandler,
  ProxyApp,
  reply,
  type Requester,
  routes,
} from "@degu/degu";
import { Device, peerOf, perPeer } from "@degu/degu/device";
import { Hono } from "npm:hono@4.13.19";

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
 * Makes the app for all peers. Each peer has access only to the services in its rules.
 *
 * @param upstream Sends the requests to the camera.
 */
export function buildGateway(upstream: Requester): App {
  // The header tells the camera the name of the peer. Peers can't forge the header.
  const camera = new ProxyApp(upstream, {
    headers: (_, session) => ({ "x-peer": peerOf(session).name }),
  });
  const allowGet = (app: App) => routes({ "GET /": app, "GET /{path...}": app });
  const allowPost = (app: App) => routes({ "POST /": app });
  const rules = new Map<string, App>([
    ["phone", routes({ "/camera/": camera, "/notes/": notes })],
    ["tablet", routes({ "/camera/": allowGet(camera) })],
    ["doorbell", routes({ "/notes/": allowPost(notes) })],
  ]);
  const forbidden: App = () => reply(403);
  return perPeer(({ name }) => rules.get(name) ?? forbidden);
}

if (import.meta.main) {
  const [host = "0.0.0.0", port = "7444"] = Deno.args;
  await using gateway = await Device.open(`${Deno.cwd()}/gateway-device`, { name: "gateway" });
  await using camera = new ConnectionPool(new Client(`${Deno.cwd()}/camera.socket`));
  const app = buildGateway(camera);
  const onExchange = accessLog({ print: console.log });
  await using server = await gateway.serve([host, Number(port)], app, { onExchange });
  console.log("Serving; Ctrl+C ends it.");
  await server.serveUntilSignal();
}
