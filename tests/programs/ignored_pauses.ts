/**
 * Makes pauses of sockets of `node:net` have no effect, as another version of Deno could, and
 * prints a JSON array of what TLS does then.
 */

import { type Body, BodyIter, type Response } from "@degu/degu/base";
import { SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { SSLServer } from "@degu/degu/server";
import { canPauseNodeSockets } from "@degu/internal/net/transport/runtime.ts";

const PIECE_BYTES = 1_048_576;
const BODY_BYTES = 20 * PIECE_BYTES;

function makeBody(): BodyIter {
  const piece = new Uint8Array(PIECE_BYTES);
  return new BodyIter(Array(BODY_BYTES / PIECE_BYTES).fill(piece), BODY_BYTES);
}

async function countBytes({ body }: Response): Promise<number> {
  let count = 0;
  for await (const piece of body as Body) count += piece.length;
  return count;
}

await using pki = await TempPKI.create();
await using server = await SSLServer.start(
  pki.serverSslconfig,
  ["127.0.0.1", 0],
  ({ uri }) => [200, "OK", {}, uri === "/large" ? makeBody() : uri],
);
const client = new SSLClient(pki.clientSslconfig, server.address);
const findings: unknown[] = [canPauseNodeSockets()];

using flooded = await client.connect();
// The handshake needs pauses.
await (await flooded.get("/small")).text();
const { binding } = globalThis.process as unknown as {
  binding(name: "tcp_wrap"): { readonly TCP: { readonly prototype: object } };
};
Object.defineProperty(binding("tcp_wrap").TCP.prototype, "readStop", { value: () => 0 });
const response = await flooded.get("/large");
// The body is not read, so its bytes are buffered until the socket has failed.
while (canPauseNodeSockets()) await new Promise((resolve) => setTimeout(resolve, 10));
findings.push(await countBytes(response).catch((error: Error) => error.message));

// The server has moved to a listener of Deno, and the client to connections of Deno.
using later = await client.connect();
findings.push(await countBytes(await later.get("/large")));
findings.push(await (await client.request("GET", "/small")).text());
console.log(JSON.stringify(findings));
