import { checkFirst, firstBody, sayReady } from "./ready.ts";

const options = { hostname: "127.0.0.1", port: 0, onListen() {} };
const server = Deno.serve(options, () => new Response(firstBody));
const response = await fetch(`http://127.0.0.1:${server.addr.port}/`);
checkFirst(response.status, await response.bytes());
await sayReady();
