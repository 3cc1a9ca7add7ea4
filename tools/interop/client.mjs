/**
 * Sends a request with Node: client.mjs fetch|http OPERATION URL [CA CERT KEY]. Prints the status
 * and the body of the response.
 */
import { readFileSync } from "node:fs";
import { Agent as HttpAgent, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { argv } from "node:process";
import { text } from "node:stream/consumers";

const [library, operation, address, ca, cert, key] = argv.slice(2);
const url = new URL(address);
if (operation === "query") url.searchParams.set("q", "a/b@c,d");
const method =
  { put: "PUT", chunked: "PUT", expect: "PUT", delete: "DELETE", head: "HEAD" }[operation] ?? "GET";
const headers = {
  range: { range: "bytes=2-4" },
  close: { connection: "close" },
  expect: { expect: "100-continue", "content-length": "5" },
}[operation] ?? {};
const count = operation === "keep-alive" ? 2 : 1;

async function* pieces() {
  yield new TextEncoder().encode("hel");
  yield new TextEncoder().encode("lo");
}

async function useFetch() {
  if (ca !== undefined) throw new Error("unsupported: a certificate needs the package undici");
  const body = { put: "hello", chunked: ReadableStream.from(pieces()) }[operation];
  for (let i = 0; i < count; i++) {
    const response = await fetch(url, { method, headers, body, duplex: "half" });
    console.log(response.status, await response.text());
  }
}

async function useHttp() {
  const tls = ca === undefined
    ? {}
    : { ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) };
  const agent = new (ca === undefined ? HttpAgent : HttpsAgent)({ keepAlive: true, maxSockets: 1 });
  const request = ca === undefined ? httpRequest : httpsRequest;
  for (let i = 0; i < count; i++) {
    const response = await new Promise((resolve, reject) => {
      const sent = request(url, { method, headers, agent, ...tls }, resolve).on("error", reject);
      if (operation === "put") sent.end("hello");
      else if (operation === "expect") sent.on("continue", () => sent.end("hello")).flushHeaders();
      else if (operation === "chunked") sent.write("hel", () => sent.end("lo"));
      else sent.end();
    });
    console.log(response.statusCode, await text(response));
  }
  agent.destroy();
}

await (library === "fetch" ? useFetch() : useHttp());
