import { Client, Server } from "../../mod.ts";
import { checkFirst, firstBody, sayReady } from "./ready.ts";

const server = new Server(["127.0.0.1", 0], () => [200, "OK", {}, firstBody]);
await server.ready;
server.serveForever();
const response = await new Client(server.address).request("GET", "/");
checkFirst(response.status, await response.body?.bytes() ?? new Uint8Array());
await sayReady();
