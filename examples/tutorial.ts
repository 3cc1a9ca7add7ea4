// deno run --allow-net=127.0.0.1,[::1] --allow-read=. examples/tutorial.ts

import { type App, BodyIter, Client } from "@degu/degu";
import { TempServer } from "@degu/degu/misc";
import { bytesToSend } from "./size.ts";

const MEBIBYTE = 1024 * 1024;
const TRANSFER_BYTES = bytesToSend();

/** The time limit of the whole program. */
const MAX_SECONDS = 600;
setTimeout(() => {
  console.error(`The demo has not ended within ${MAX_SECONDS} seconds.`);
  Deno.exit(1);
}, MAX_SECONDS * 1000).unref();

// ───────────────────────── an app, a server for it, and a client

/** Builds an app. It is sent to a worker as source code, so it must not use anything from outside. */
const buildApp = (downloadBytes: number): App => async (request, _session, api) => {
  if (request.method === "PUT" && request.body !== null) {
    let received = 0;
    await request.body.writeTo({
      write(bytes) {
        received += bytes.length;
        return Promise.resolve();
      },
    });
    return [200, "OK", { received: `${received}` }, null];
  }
  if (request.path[0] === "download") {
    const piece = new Uint8Array(1024 * 1024);
    const pieces = new Array<Uint8Array>(downloadBytes / piece.length).fill(piece);
    return [200, "OK", {}, new api.BodyIter(pieces, downloadBytes)];
  }
  return [200, "OK", { hello: "world" }, null];
};

await using server = await TempServer.start(["127.0.0.1", 0], buildApp, TRANSFER_BYTES);
const client = new Client(server.address);
console.log(`An app, served on ${client.host}:`);
console.log(await client.request("GET", "/"));

// ───────────────────────── a reverse proxy to it, and a client of that

/** Names an export of a module, which is imported in the worker and may use anything. */
const buildProxy = { module: import.meta.resolve("./proxy_app.ts"), name: "buildProxyApp" };

const ipv6 = hasIPv6();
await using proxy = await TempServer.start(
  ipv6 ? ["::1", 0, 0, 0] : ["127.0.0.1", 0],
  buildProxy,
  server.address,
);
const proxyClient = new Client(proxy.address);
if (!ipv6) console.log("This machine has no IPv6, so the proxy takes 127.0.0.1, too.");
console.log(`A reverse proxy to it, served on ${proxyClient.host}:`);
console.log(await proxyClient.request("GET", "/"));

/** Whether the loopback address of IPv6 is available. */
function hasIPv6(): boolean {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false;
  }
}

// ───────────────────────── large bodies through both

await transfer("upload", async (progress) => {
  function* pieces(): Iterable<Uint8Array> {
    const piece = new Uint8Array(MEBIBYTE);
    for (let sent = 0; sent < TRANSFER_BYTES; sent += piece.length) {
      yield piece;
      progress(piece.length);
    }
  }
  const body = new BodyIter(pieces(), TRANSFER_BYTES);
  const response = await proxyClient.request("PUT", "/upload", {}, body);
  return Number(response.headers["received"]);
});

await transfer("download", async (progress) => {
  const { body } = await proxyClient.request("GET", "/download");
  let received = 0;
  await body?.writeTo({
    write(bytes) {
      received += bytes.length;
      progress(bytes.length);
      return Promise.resolve();
    },
  });
  return received;
});

/**
 * Runs a transfer and prints how far it is, then its rate: on a terminal in one line that is
 * written again and again, else in a line for each quarter.
 *
 * @param run Reports transferred bytes to `progress`; resolves to how many arrived.
 */
async function transfer(
  name: string,
  run: (progress: (bytes: number) => void) => Promise<number>,
): Promise<void> {
  const terminal = Deno.stdout.isTerminal();
  const steps = terminal ? 100 : 4;
  let done = 0;
  let step = 0;
  const show = (bytes: number, rest: string) => {
    const text = `${name.padEnd(8)} ${mebibytes(bytes).padStart(4)} of ${
      mebibytes(TRANSFER_BYTES)
    } MiB${rest}`;
    Deno.stdout.writeSync(new TextEncoder().encode(terminal ? `\r${text}` : `${text}\n`));
  };

  const start = performance.now();
  const arrived = await run((bytes) => {
    done += bytes;
    const reached = Math.floor(steps * done / TRANSFER_BYTES);
    if (reached === step || reached === steps) return;
    step = reached;
    show(done, "");
  });
  const seconds = (performance.now() - start) / 1000;
  if (arrived !== TRANSFER_BYTES) {
    throw new Error(`${name}: ${arrived} of ${TRANSFER_BYTES} bytes have arrived`);
  }
  const rate = mebibytes(arrived / seconds);
  show(arrived, ` in ${seconds.toFixed(2)} s: ${rate} MiB/s${terminal ? "\n" : ""}`);
}

function mebibytes(bytes: number): string {
  return (bytes / MEBIBYTE).toFixed(0);
}
