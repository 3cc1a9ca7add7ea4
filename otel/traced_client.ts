/**
 * Clients whose requests are traced.
 *
 * @module
 */

import { type Attributes, context, propagation } from "npm:@opentelemetry/api@^1.9.0";
import type { Address } from "../base/address_rules.ts";
import { wrongType } from "../base/checks.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import type { Client, Connection } from "../client.ts";
import { hostOf } from "../net/addresses.ts";
import { attempt, measure, pathOf } from "./measure.ts";

/**
 * Makes a client that does what another does, each request in a span of its own, whose `traceparent` is
 * sent in place of one that is given. It works wherever a client does. The span ends, and
 * `http.client.request.duration` is recorded, when the preamble of the response has arrived.
 *
 * The span has the URL of the request, but neither its query nor any header. Over a Unix socket it has the
 * path alone.
 *
 * @param client The client that makes the connections.
 * @throws {TypeError} if `client` is not a client.
 */
export function tracedClient<T extends Client>(client: T): T {
  if (typeof client?.connect !== "function") throw wrongType("client", "a Client", client);
  const scheme = "sslctx" in client ? "https" : "http";
  const shared = { "url.scheme": scheme, ...attributesOf(client.address) };
  const origin = originOf(scheme, client.address);
  const request = traced(client.request.bind(client), shared, origin);
  const connect: Client["connect"] = async (...args) => {
    const connection = await client.connect(...args);
    // Its other methods go through this one.
    connection.request = traced(connection.request.bind(connection), shared, origin);
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

function attributesOf(address: Address): Attributes {
  if (typeof address === "string") return { "server.address": address };
  if (address instanceof Uint8Array) return {};
  return { "server.address": address[0], "server.port": address[1] };
}

/** What the URLs of all requests begin with; `null` if they have none, as over Unix sockets. */
function originOf(scheme: "http" | "https", address: Address): string | null {
  const host = hostOf(address, scheme === "https" ? 443 : 80);
  const origin = `${scheme}://${host}`;
  return host !== null && URL.canParse(origin) ? origin : null;
}

function traced(
  request: Connection["request"],
  shared: Attributes,
  origin: string | null,
): Connection["request"] {
  return (method, uri, headers = {}, body = null, options) => {
    const path = pathOf(uri);
    const hasUrl = origin !== null && path.startsWith("/");
    const ofSpan = { "url.path": path, ...(hasUrl ? { "url.full": origin + path } : {}) };
    const measured = { side: "client", method, shared, ofSpan } as const;
    return measure({ ...measured, parent: context.active() }, (within) => {
      const carrier: HeaderDict = {};
      attempt(() => propagation.inject(within, carrier), undefined);
      return request(method, uri, { ...headers, ...carrier }, body, options);
    });
  };
}
