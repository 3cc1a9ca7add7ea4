/**
 * A server of `npm:fastify`. Its other end is the client of `node:http`.
 *
 * @module
 */

import type { AddressInfo } from "node:net";
import type { Buffer } from "node:buffer";
import fastify from "npm:fastify@^5.12.8";
import { answerBody, checkedHeader, checkHeader, responseHeaders } from "../messages.ts";
import { runPeer } from "../peer.ts";
import type { Endpoint, ServerWork } from "../work.ts";

async function serve(endpoint: Endpoint, work: ServerWork): Promise<Endpoint> {
  const app = fastify();
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  if (work.kind === "exchange") {
    app.post("/", (request, reply) => reply.send(request.body as Buffer));
    app.get("/", (request, reply) => {
      checkHeader(request.headers[checkedHeader]);
      return reply.headers(responseHeaders).send();
    });
  } else if (work.kind === "answer") {
    app.get("/", (_request, reply) => reply.send(answerBody));
  } else {
    throw new Error(`fastify is not measured with ${work.kind}`);
  }
  if (endpoint.transport === "unix") {
    await app.listen({ path: endpoint.path });
    return endpoint;
  }
  await app.listen({ host: endpoint.hostname, port: endpoint.port });
  return { ...endpoint, port: (app.server.address() as AddressInfo).port };
}

if (import.meta.main) await runPeer({ serve });
