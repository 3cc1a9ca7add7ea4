/** A server of one file and a proxy with Node. The arguments are NAME=VALUE. */
import { readFileSync } from "node:fs";
import { createServer, request as httpRequest } from "node:http";
import { createServer as createSecureServer, request as httpsRequest } from "node:https";
import { argv } from "node:process";
import { pipeline } from "node:stream";

const values = Object.fromEntries(argv.slice(2).map((arg) => arg.split(/=(.*)/s)));
const address = (name) => ({ host: "127.0.0.1", port: Number(values[name]) });

/** Responses that a Degu client refuses, by path. */
const REFUSED = {
  "/cookies": (response) => response.setHeader("set-cookie", ["a=1", "b=2"]).end(),
  "/hints": (response) => response.writeEarlyHints({ link: "</a>" }, () => response.end()),
  "/trailers": (response) => {
    response.writeHead(200, { trailer: "a" }).write("hello");
    response.addTrailers({ a: "1" });
    response.end();
  },
  "/http-1.0": (response) => response.socket.end("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"),
  "/space": (response) => response.setHeader("a", "b ").end(),
  "/no-value": (response) => response.setHeader("a", "").end(),
  "/underscore": (response) => response.setHeader("a_b", "c").end(),
  "/unsatisfied": (response) => response.writeHead(416, { "content-range": "bytes */10" }).end(),
  "/until-close": (response) => {
    response.useChunkedEncodingByDefault = false;
    response.removeHeader("transfer-encoding");
    response.shouldKeepAlive = false;
    response.end("hello");
  },
};

function respond(request, response) {
  if (request.url in REFUSED) return REFUSED[request.url](response);
  const content = readFileSync(`${values.DIR}/files/${decodeURIComponent(request.url.slice(1))}`);
  response.setHeader("content-length", content.length).end(content);
}

function proxyTo(request, target) {
  return (incoming, response) => {
    const { method, url, headers } = incoming;
    const outgoing = request({ ...target, method, path: url, headers });
    outgoing.on("response", (upstreamResponse) => {
      response.writeHead(upstreamResponse.statusCode, upstreamResponse.headers);
      pipeline(upstreamResponse, response, () => {});
    });
    pipeline(incoming, outgoing, () => {});
  };
}

const identity = { cert: readFileSync(values.CLIENT_CERT), key: readFileSync(values.CLIENT_KEY) };
const trustOptions = { ca: readFileSync(values.SERVER_CA), servername: "localhost" };
createServer(respond).listen(address("FILES"));
createServer(proxyTo(httpRequest, address("DEGU"))).listen(address("PROXY"));
createServer(proxyTo(httpsRequest, { ...address("DEGU_TLS"), ...identity, ...trustOptions }))
  .listen(address("PROXY_TLS"));
createSecureServer({
  cert: readFileSync(values.SERVER_CERT),
  key: readFileSync(values.SERVER_KEY),
  ca: readFileSync(values.CLIENT_CA),
  requestCert: true,
  rejectUnauthorized: true,
}, respond).listen(address("FILES_TLS"));
