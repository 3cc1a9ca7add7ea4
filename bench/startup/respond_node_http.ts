import { once } from "node:events";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import { checkFirst, firstBody, sayReady } from "./ready.ts";

const server = http.createServer((_request, response) => {
  response.writeHead(200, { "content-length": firstBody.length }).end(firstBody);
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const { port } = server.address() as AddressInfo;
const request = http.get({ host: "127.0.0.1", port, path: "/" });
const [response]: http.IncomingMessage[] = await once(request, "response");
const [body]: Uint8Array[] = response === undefined ? [] : await once(response, "data");
checkFirst(response?.statusCode ?? 0, body ?? new Uint8Array());
await sayReady();
