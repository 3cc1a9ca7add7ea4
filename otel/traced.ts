/** Apps and clients with traced requests: a span and a duration for each request. */

import {
  type Attributes,
  type Context,
  context,
  diag,
  INVALID_SPAN_CONTEXT,
  metrics,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from "npm:@opentelemetry/api@^1.9.0";
import type { Address } from "../base/address.ts";
import { type App, type AppObject, readApp, type Socket } from "../base/app/app.ts";
import { readAnswer } from "../base/app/message.ts";
import type { Session } from "../base/app/session.ts";
import { wrongType } from "../base/checks.ts";
import type { HeaderDict } from "../base/wire/headers.ts";
import { isMethod } from "../base/wire/preamble.ts";
import type { Client, Connection } from "../client.ts";
import { hostOf } from "../net/addresses.ts";

/**
 * Makes an app that behaves like the given app and traces it: each request has a span that
 * continues the trace in its `traceparent`; the `onConnect` of the app stays. The span ends, and
 * `http.server.request.duration` is recorded, when the app has answered; its body is sent later.
 *
 * The span has the path of the request, but neither its query nor any header. An error of the app
 * is recorded with its message.
 *
 * @param app The app that answers the requests.
 * @throws {TypeError} if `app` is not an app.
 */
export function tracedApp(app: App): AppObject {
  const { handle, onConnect } = readApp(app, "app");
  const encrypted = new WeakSet<Session>();
  return {
    async handle(request, session, api) {
      const { method, uri, headers } = request;
      const scheme = encrypted.has(session) ? "https" : "http";
      const peer = session.address;
      const { returned } = await measure({
        side: "server",
        method,
        shared: { "url.scheme": scheme },
        ofSpan: {
          "url.path": pathOf(uri),
          ...(peer === null ? {} : {
            "client.address": peer[0],
            "network.peer.address": peer[0],
            "network.peer.port": peer[1],
          }),
        },
        parent: attempt(() => readParent(headers), context.active()),
      }, async () => {
        const returned = await handle(request, session, api);
        return { status: readAnswer(returned).status, returned };
      });
      return returned;
    },
    onConnect(session: Session, socket: Socket) {
      if (socket.protocol !== undefined) encrypted.add(session);
      return onConnect === null || onConnect(session, socket);
    },
  };
}

function readParent(headers: HeaderDict): Context {
  const { baggage } = headers;
  return propagation.extract(
    context.active(),
    // Deno's own propagator would print a stack for each value that can't be decoded.
    baggage === undefined || isDecodable(`${baggage}`) ? headers : { ...headers, baggage: "" },
  );
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Makes a client that behaves like the given client and traces it: each request has a span of its
 * own, whose `traceparent` replaces a given one. The new client works wherever a client does. The
 * span ends, and `http.client.request.duration` is recorded, when the preamble of the response has
 * arrived.
 *
 * The span has the URL of the request, but neither its query nor any header. Over a Unix socket the
 * span has the path alone.
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
  const connect = async (...args: readonly unknown[]) => {
    const connection: Connection = await Reflect.apply(client.connect, client, args);
    // The other methods of a connection call `request`.
    connection.request = traced(connection.request.bind(connection), shared, origin);
    return connection;
  };
  return new Proxy(client, {
    get(target, name) {
      if (name === "connect") return connect;
      if (name === "request") return request;
      // Private fields belong to the original client, so it is `this` in its methods.
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

/** The common beginning of all URLs; `null` for Unix sockets, whose URLs have none. */
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

// ───────────────────────── a request

const NAME = "@degu/degu";
/** The limits of the histogram's buckets in seconds, which the conventions recommend. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

/** The two ends at which a request is measured, and the statuses that count as errors there. */
const SIDES = {
  server: { kind: SpanKind.SERVER, metric: "http.server.request.duration", errorsFrom: 500 },
  client: { kind: SpanKind.CLIENT, metric: "http.client.request.duration", errorsFrom: 400 },
} as const;

/** The facts about a request that are known before it is processed. */
interface Measured {
  readonly side: keyof typeof SIDES;
  /** The method, also the name of the span; a caller may give any value. */
  readonly method: string;
  /** Attributes of the span and of the metric. */
  readonly shared: Attributes;
  /** Attributes of the span alone: their values are too many for a metric. */
  readonly ofSpan: Attributes;
  /** The context whose span is the parent. */
  readonly parent: Context;
}

/**
 * Runs a step of telemetry alone. An SDK or an exporter may fail, but no request fails with it: the
 * error goes to the API's diagnostic logger.
 */
function attempt<T>(work: () => T, otherwise: T): T {
  try {
    return work();
  } catch (error) {
    diag.error("@degu/degu/otel: telemetry fails", error);
    return otherwise;
  }
}

/**
 * Processes a request within a span, and records its duration and its outcome.
 *
 * @throws the errors of `process`.
 */
async function measure<T extends { readonly status: number }>(
  { side, method, shared, ofSpan, parent }: Measured,
  process: (context: Context) => T | Promise<T>,
): Promise<T> {
  const { kind, metric, errorsFrom } = SIDES[side];
  const known = isMethod(method);
  const attributes: Attributes = {
    // The conventions want this value for unknown methods, which may be any text.
    "http.request.method": known ? method : "_OTHER",
    "network.protocol.version": "1.1",
    ...shared,
  };
  const start = performance.now();
  const span = attempt(() =>
    trace.getTracer(NAME).startSpan(
      known ? method : "HTTP",
      { kind, attributes: { ...attributes, ...ofSpan } },
      parent,
    ), trace.wrapSpanContext(INVALID_SPAN_CONTEXT));
  const within = trace.setSpan(parent, span);
  const ending: Attributes = {};
  try {
    const response = await context.with(within, () => process(within));
    const { status } = response;
    ending["http.response.status_code"] = status;
    if (status >= errorsFrom) {
      ending["error.type"] = String(status);
      attempt(() => span.setStatus({ code: SpanStatusCode.ERROR }), span);
    }
    return response;
  } catch (error) {
    ending["error.type"] = attempt(() => recordError(span, side, error), "_OTHER");
    throw error;
  } finally {
    const seconds = (performance.now() - start) / 1000;
    attempt(() => span.setAttributes(ending), span);
    attempt(() => span.end(), undefined);
    const advice = { explicitBucketBoundaries: BUCKETS };
    const description = `Duration of HTTP ${side} requests.`;
    attempt(() => {
      metrics.getMeter(NAME).createHistogram(metric, { unit: "s", description, advice })
        .record(seconds, { ...attributes, ...ending });
    }, undefined);
  }
}

/** Records an error; returns its type. */
function recordError(span: Span, side: Measured["side"], error: unknown): string {
  span.setStatus({ code: SpanStatusCode.ERROR });
  if (!(error instanceof Error)) return "_OTHER";
  // The message about a wrong argument quotes the argument, which may be a URI with its query.
  const isArgument = error instanceof TypeError || error instanceof RangeError;
  if (side === "server" || !isArgument) span.recordException(error);
  return error.name;
}

/** The path of a URI, without its query; a caller may give any value. */
function pathOf(uri: unknown): string {
  return String(uri).split(/[?#]/, 1)[0]!;
}
