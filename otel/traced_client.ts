/**
 * Clients whose requests are traced.
 *
 * @module
 */

import { type Attributes, context, propagation } from "npm:@opentelemetry/api@^1.9.0";
import { wrongType } from "../base/checks.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import type { Client, Connection } from "../client.ts";
import { attempt, measure, pathOf } from "./measure.ts";

/**
 * Makes a client that does what another does, each request in a span of its own, whose `traceparent` is
 * sent in place of one that is given. It works wherever a client does. The span ends, and
 * `http.client.request.duration` is recorded, when the preamble of the response has arrived.
 *
 * The span has the path of the request, but neither its query nor any header.
 *
 * @param client The client that makes the connections.
 * @throws {TypeError} if `client` is not a client.
 */
export function tracedClient<T extends Client>(client: T): T {
  if (typeof client?.connect !== "function") throw wrongType("client", "a Client", client);
  const shared = attributesOf(client);
  const request = traced(client.request.bind(client), shared);
  const connect: Client["connect"] = async (...args) => {
    const connection = await client.connect(...args);
    // Its other methods go through this one.
    connection.request = traced(connection.request.bind(connection), shared);
    return connection;
  };
  return new Proxy(client, {
    get(target, name) {
      if (name === "connect") return connect;
      if (name === "request") return request;
      // Private fields belong to the client itself.
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" && name !== "constructor" ? value.bind(target) : value;
    },
  });
}

function attributesOf(client: Client): Attributes {
  const { address } = client;
  const scheme = { "url.scheme": "sslctx" in client ? "https" : "http" };
  if (typeof address === "string") return { ...scheme, "server.address": address };
  if (address instanceof Uint8Array) return scheme;
  return { ...scheme, "server.address": address[0], "server.port": address[1] };
}

function traced(request: Connection["request"], shared: Attributes): Connection["request"] {
  return (method, uri, headers = {}, body = null, options) => {
    const ofSpan = { "url.path": pathOf(uri) };
    const measured = { side: "client", method, shared, ofSpan } as const;
    return measure({ ...measured, parent: context.active() }, (within) => {
      const carrier: HeaderDict = {};
      attempt(() => propagation.inject(within, carrier), undefined);
      return request(method, uri, { ...headers, ...carrier }, body, options);
    });
  };
}
