/**
 * Makes pauses of sockets of `node:net` have no effect, as another version of Deno could, and
 * prints the error of a connection that isn't read, as JSON.
 */

import { type Body, BodyIter } from "@degu/degu/base";
import { SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { SSLServer } from "@degu/degu/server";

const PIECE_BYTES = 1_048_576;
const BODY_BYTES = 20 * PIECE_BYTES;

function makeBody(): BodyIter {
  const piece = new Uint8Array(PIECE_BYTES);
  return new BodyIter(Array(BODY_BYTES / PIECE_BYTES).fill(piece), BODY_BYTES);
}

const disconnected = Promise.withResolvers<void>();
await using pki = await TempPKI.create();
await using server = await SSLServer.start(
  pki.serverSslconfig,
  ["127.0.0.1", 0],
  ({ uri }, { signal }) => {
    if (uri !== "/large") return [200, "OK", {}, uri];
    signal.addEventListener("abort", () => disconnected.resolve());
    return [200, "OK", {}, makeBody()];
  },
);
using connection = await new SSLClient(pki.clientSslconfig, server.address).connect();
// The handshake needs pauses.
await (await connection.get("/small")).text();
const { binding } = globalThis.process as unknown as {
  binding(name: "tcp_wrap"): { readonly TCP: { readonly prototype: object } };
};
Object.defineProperty(binding("tcp_wrap").TCP.prototype, "readStop", { value: () => 0 });
const { body } = await connection.get("/large");
// The body is not read, so its bytes are buffered until the socket has failed.
await disconnected.promise;
try {
  for await (const _ of body as Body);
} catch (error) {
  console.log(JSON.stringify((error as Error).message));
}
