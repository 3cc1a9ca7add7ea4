// deno run --allow-net=127.0.0.1 --allow-read=/tmp --allow-write=/tmp examples/hono.ts

import { Hono } from "hono";
import {
  createFetch,
  type FetchHandlerInfo,
  fromFetchHandler,
  SSLClient,
  SSLServer,
} from "@degu/degu";
import { TempPKI } from "@degu/degu/misc";

// A Hono app like any other. Its env identifies the client: here, by the public key of its certificate.
const app = new Hono<{ Bindings: FetchHandlerInfo }>();
app.get("/whoami", (c) => c.json({ you: c.env.session.peerCertificate?.publicKey256 }));
app.post("/shout", async (c) => {
  const text = c.req.raw.body!.pipeThrough(new TextDecoderStream());
  return c.text(await upperCase(text));
});
app.get("/count", () => new Response(ReadableStream.from(count(3))));

/** Reads a text piece by piece, as it arrives. */
async function upperCase(text: ReadableStream<string>): Promise<string> {
  let result = "";
  for await (const piece of text) result += piece.toUpperCase();
  return result;
}

/** Makes a text piece by piece, as it is read. */
async function* count(last: number): AsyncGenerator<Uint8Array> {
  for (let i = 1; i <= last; i++) {
    yield await Promise.resolve(new TextEncoder().encode(`${i} `));
  }
}

// Keys for one run. Real devices keep theirs: createDevicePki() makes them once.
await using pki = await TempPKI.create();

// Clients without a certificate of this PKI are refused in the handshake and never reach Hono.
await using server = await SSLServer.start(
  pki.serverSslconfig,
  ["127.0.0.1", 0],
  fromFetchHandler(app),
);

const fetch = createFetch(new SSLClient(pki.clientSslconfig, server.address));
console.log(await (await fetch("/whoami")).json());
console.log(await (await fetch("/shout", { method: "POST", body: "hello, world" })).text());
console.log(await (await fetch("/count")).text());

const strangersFetch = createFetch(new SSLClient(pki.anonymousClientSslconfig, server.address));
try {
  await strangersFetch("/whoami");
} catch (error) {
  console.log("Without a certificate:", (error as Error).message);
}
