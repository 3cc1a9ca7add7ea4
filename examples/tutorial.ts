// deno run --allow-net=127.0.0.1,[::1] --allow-read=. examples/tutorial.ts

import { type App, BodyIter, Client } from "@degu/degu";
import { TempServer } from "@degu/degu/misc";
import { MEBIBYTE, parseSizeArgument } from "./size.ts";

const TRANSFER_BYTES = parseSizeArgument();

/** The time-out of the whole program. */
const TIMEOUT_SECONDS = 600;
setTimeout(() => {
  console.error(`The demo has not ended within ${TIMEOUT_SECONDS} seconds.`);
  Deno.exit(1);
}, TIMEOUT_SECONDS * 1000).unref();

// ───────────────────────── an app, a server for it, and a client

/** Builds an app. The worker receives its source code, so it can't use other variables. */
const buildApp = (downloadBytes: number): App => async (request, _session, api) => {
  if (request.method === "PUT" && request.body !== null) {
    let receivedBytes = 0;
    await request.body.writeTo({
      write(bytes) {
        receivedBytes += bytes.length;
        return Promise.resolve();
      },
    });
    return [200, "OK", { received: `${receivedBytes}` }, null];
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

// ───────────────────────── a reverse proxy to the server, and a client of the proxy

/** A function that the worker imports from a module. It can use other variables of the module. */
const buildProxy = { module: import.meta.resolve("./proxy_app.ts"), name: "buildProxyApp" };

const ipv6 = hasIPv6();
await using proxy = await TempServer.start(
  ipv6 ? ["::1", 0, 0, 0] : ["127.0.0.1", 0],
  buildProxy,
  server.address,
);
const proxyClient = new Client(proxy.address);
if (!ipv6) console.log("This machine has no IPv6, so the proxy also uses 127.0.0.1.");
console.log(`A reverse proxy to it, served on ${proxyClient.host}:`);
console.log(await proxyClient.request("GET", "/"));

/** Reports whether the loopback address of IPv6 is available. */
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
    for (let sentBytes = 0; sentBytes < TRANSFER_BYTES; sentBytes += piece.length) {
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
  let receivedBytes = 0;
  await body?.writeTo({
    write(bytes) {
      receivedBytes += bytes.length;
      progress(bytes.length);
      return Promise.resolve();
    },
  });
  return receivedBytes;
});

/**
 * Runs a transfer, and prints its rate; on a terminal also its progress, in the same line.
 *
 * @param run Reports transferred bytes to `progress`; resolves to the number of received bytes.
 */
async function transfer(
  name: string,
  run: (progress: (bytes: number) => void) => Promise<number>,
): Promise<void> {
  const isTerminal = Deno.stdout.isTerminal();
  const steps = 100;
  let transferredBytes = 0;
  let step = 0;
  const show = (bytes: number, suffix: string) => {
    const text = `${name.padEnd(8)} ${formatMebibytes(bytes).padStart(4)} of ${
      formatMebibytes(TRANSFER_BYTES)
    } MiB${suffix}`;
    Deno.stdout.writeSync(new TextEncoder().encode(isTerminal ? `\r${text}` : `${text}\n`));
  };

  const startedAt = performance.now();
  const receivedBytes = await run((bytes) => {
    transferredBytes += bytes;
    const nextStep = Math.floor(steps * transferredBytes / TRANSFER_BYTES);
    if (!isTerminal || nextStep === step || nextStep === steps) return;
    step = nextStep;
    show(transferredBytes, "");
  });
  const seconds = (performance.now() - startedAt) / 1000;
  if (receivedBytes !== TRANSFER_BYTES) {
    throw new Error(`${name}: received ${receivedBytes} of ${TRANSFER_BYTES} bytes`);
  }
  const rate = formatMebibytes(receivedBytes / seconds);
  show(receivedBytes, ` in ${seconds.toFixed(2)} s: ${rate} MiB/s${isTerminal ? "\n" : ""}`);
}

function formatMebibytes(bytes: number): string {
  return (bytes / MEBIBYTE).toFixed(0);
}
