/** A server of one file and a proxy with Node. The arguments are NAME=VALUE. */
import { readFileSync } from "node:fs";
import { createServer, request as httpRequest } from "node:http";
import { createServer as createSecureServer, request as httpsRequest } from "node:https";
import { argv } from "node:process";
import { pipeline } from "node:stream";

const values = Object.fromEntries(argv.slice(2).map((arg) => arg.split(/=(.*)/s)));
const address = (name) => ({ host: "127.0.0.1", port: Number(values[name]) });

/** The start of responses that a Degu client refuses, by path. */
const REFUSED = {
  "/two-lengths": "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5",
  "/length-and-chunks": "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
  "/gzip-coding": "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked",
  "/chunks-of-1.0": "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked",
  "/folded": "HTTP/1.1 200 OK\r\na: b\r\n c",
  "/switch": "HTTP/1.1 101 Switching Protocols\r\nupgrade: a",
};

function respond(request, response) {
  const refused = REFUSED[request.url];
  if (refused !== undefined) return response.socket.end(`${refused}\r\n\r\n`);
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
