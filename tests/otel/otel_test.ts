/** Spans: of traced clients and apps, in a collector, and where tracing fails. */
import { createFetch } from "@degu/degu";
import { type Address, EmptyPreambleError, Response } from "@degu/degu/base";
import { Client, SSLClient } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { tracedApp, tracedClient } from "@degu/degu/otel";
import { type App, SSLServer } from "@degu/degu/server";
import { tempDir } from "@degu/testing/directories.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import {
  type Attributes,
  INVALID_SPAN_CONTEXT,
  type Meter,
  metrics,
  propagation,
  type Span,
  trace,
} from "npm:@opentelemetry/api@^1.9.0";

// An OpenTelemetry collector on loopback, and a program that reports to it with Deno's own
// exporter.

interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: number;
  readonly attributes: Record<string, unknown>;
  readonly status: { readonly code: number };
  readonly events: readonly { readonly name: string }[];
}

interface RawSpan extends Omit<CollectedSpan, "attributes"> {
  readonly attributes: { readonly key: string; readonly value: Record<string, unknown> }[];
}

interface Sent {
  readonly resourceSpans?: { scopeSpans: { scope: { name: string }; spans: RawSpan[] }[] }[];
}

/** Runs a program of `tests/programs/`; returns its spans by this library, and all it has sent. */
async function collect(program: string): Promise<{ spans: CollectedSpan[]; sent: string }> {
  const sent: string[] = [];
  await using collector = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => {
      sent.push(await request.text());
      return globalThis.Response.json({});
    },
  );
  const env = {
    OTEL_DENO: "true",
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.addr.port}`,
  };
  await runProgram(program, { flags: ["--allow-net=127.0.0.1"], env });
  const spans = sent.flatMap((text) => (JSON.parse(text) as Sent).resourceSpans ?? [])
    .flatMap(({ scopeSpans }) => scopeSpans)
    .filter(({ scope }) => scope.name === "@degu/degu")
    .flatMap((scope) => scope.spans);
  return { spans: spans.map(withAttributes), sent: sent.join("\n") };
}

function withAttributes(span: RawSpan): CollectedSpan {
  const entries = span.attributes.map(({ key, value }) => [key, Object.values(value)[0]]);
  return { ...span, attributes: Object.fromEntries(entries) };
}

// Traced apps and clients behave as those that they are made of, even if nothing collects traces.

/** The function of telemetry that fails now. */
let failing = "";
const failed = new Set<string>();
const recorded: unknown[] = [];

function called(name: string, ...what: unknown[]) {
  recorded.push(...what);
  if (name !== failing) return;
  failed.add(name);
  throw new Error(`${name} fails`);
}

/** Spans and durations that are recorded here, as an SDK would. */
function register(): void {
  const span = Object.assign(trace.wrapSpanContext(INVALID_SPAN_CONTEXT), {
    setAttributes(attributes: Attributes) {
      called("setAttributes", attributes);
      return this;
    },
    setStatus() {
      called("setStatus");
      return this;
    },
    recordException: ({ message }: Error) => called("recordException", message),
    end: () => called("end"),
  }) as Span;
  const startSpan = (name: string, options: unknown) => {
    called("startSpan", name, options);
    return span;
  };
  const record = (_seconds: number, attributes: Attributes) => called("record", attributes);
  trace.setGlobalTracerProvider({
    getTracer: () => ({ startSpan, startActiveSpan: () => called("startActiveSpan") as never }),
  });
  metrics.setGlobalMeterProvider({
    getMeter: () => ({ createHistogram: () => ({ record }) }) as unknown as Meter,
  });
  propagation.setGlobalPropagator({
    inject: () => called("inject"),
    extract: (context, { baggage = "none" }) => {
      called("extract", { baggage });
      return context;
    },
    fields: () => [],
  });
}

function unregister(): void {
  for (const each of [trace, metrics, propagation]) each.disable();
}

/** The attributes of the spans that begin until it is disposed of. */
function recordSpans() {
  register();
  recorded.length = 0;
  const attributes = (): Attributes[] => recorded.flatMap((each) => Object(each).attributes ?? []);
  return { attributes, [Symbol.dispose]: unregister };
}

/** A client that has an answer for everything, without a server. */
class Answering extends Client {
  override request() {
    return Promise.resolve(new Response(204, "No Content", {}, null));
  }
}

Deno.test("a traced client is a Client, for requests, connections and fetch", async () => {
  await using serving = serve(() => [200, "OK", {}, new Uint8Array(3)]);
  const plain = serving.makeClient();
  const { request, connect } = plain;
  const client = tracedClient(plain);
  assertInstanceOf(client, Client);
  assertEquals([client.address, client.host], [plain.address, plain.host]);
  assertEquals((await (await client.request("GET", "/")).body?.bytes())?.length, 3);
  using connection = await client.connect();
  assertEquals((await (await connection.get("/")).body?.bytes())?.length, 3);
  assertEquals((await (await createFetch(client)("/a")).bytes()).length, 3);
  assert(plain.request === request && plain.connect === connect);
});

Deno.test("an invalid client is refused", () => {
  assertThrows(() => tracedClient(7 as unknown as Client), TypeError);
});

Deno.test("a span has the whole URL, without the query", async () => {
  using spans = recordSpans();
  await using serving = serve(() => [200, "OK", {}, null]);
  const [, port] = serving.address as [string, number];
  const client = tracedClient(serving.makeClient({ host: "other" }));
  await client.request("GET", "/a/b?token=secret");
  using connection = await client.connect();
  await connection.get("/");
  const urls = spans.attributes().map((attributes) => attributes["url.full"]);
  assertEquals(urls, [`http://127.0.0.1:${port}/a/b`, `http://127.0.0.1:${port}/`]);
});

Deno.test("a traced client works over TLS, and its spans have the host and the port that a browser would show", async () => {
  const rows: [Address, plain: string, tls: string][] = [
    [["camera.local", 80], "http://camera.local/a", "https://camera.local:80/a"],
    [["camera.local", 443], "http://camera.local:443/a", "https://camera.local/a"],
    [["::1", 8080, 0, 0], "http://[::1]:8080/a", "https://[::1]:8080/a"],
    [["fe80::1%eth0", 8080], "http://[fe80::1]:8080/a", "https://[fe80::1]:8080/a"],
  ];
  await using pki = await TempPKI.create();
  for (const [address, plain, tls] of rows) {
    using spans = recordSpans();
    await tracedClient<Client>(new Answering(address)).request("GET", "/a");
    const client = new SSLClient(pki.clientSslconfig, address);
    await tracedClient(client).request("GET", "/a", {}, null, { signal: AbortSignal.abort() })
      .catch(() => {});
    assertEquals(spans.attributes().map((attributes) => attributes["url.full"]), [plain, tls]);
  }
  const app = () => [204, "No Content", {}, null] as const;
  await using server = new SSLServer(pki.serverSslconfig, ["127.0.0.1", 0], app);
  const serving = server.serveForever();
  await server.ready;
  const client = tracedClient(new SSLClient(pki.clientSslconfig, server.address));
  assertEquals((await client.request("GET", "/")).status, 204);
  await server.shutdown();
  await serving;
});

Deno.test("a span has no URL over a Unix socket, or if the request target is no path", async () => {
  await using dir = await tempDir();
  using spans = recordSpans();
  const addresses: Address[] = [`${dir.path}/socket`];
  if (Deno.build.os === "linux") addresses.push(new Uint8Array());
  for (const address of addresses) {
    await using serving = serve(() => [200, "OK", {}, null], {}, address);
    await tracedClient(serving.makeClient()).request("GET", "/a");
  }
  await using serving = serve(() => [200, "OK", {}, null]);
  const client = tracedClient(serving.makeClient());
  await assertRejects(() => client.request("GET", "user:password@a"), RangeError);
  await assertRejects(() => client.request("GET", 7 as unknown as string), TypeError);
  assertEquals(spans.attributes().length, addresses.length + 2);
  for (const attributes of spans.attributes()) assert(!("url.full" in attributes));
});

Deno.test("the onConnect of a traced app is kept, and can refuse", async () => {
  for (const accepted of [true, false]) {
    const app: App = { onConnect: () => accepted, handle: () => [204, "No Content", {}, null] };
    await using serving = serve(tracedApp(app));
    const answer = serving.makeClient().request("GET", "/");
    if (accepted) assertEquals((await answer).status, 204);
    else await assertRejects(() => answer, EmptyPreambleError);
  }
});

Deno.test("a traced app needs an app", () => {
  assertThrows(() => tracedApp(7 as unknown as App), TypeError);
});

// What a collector receives from Deno's own exporter.

const SERVER = 2, CLIENT = 3;

Deno.test("spans, metrics and errors reach a collector, in one trace per request, without secrets", async () => {
  const { spans, sent } = await collect("traced.ts");
  const traces = Object.groupBy(spans, ({ traceId }) => traceId);
  const statuses: unknown[] = [];
  for (const spans of Object.values(traces)) {
    // A client, the proxy's app, the proxy's client, the app: each the parent of the next.
    let parent = "";
    const chain = [];
    for (let i = 0; i < 4; i++) {
      const span = spans!.find(({ parentSpanId }) => parentSpanId === parent);
      assert(span !== undefined, Deno.inspect(spans));
      chain.push(span);
      parent = span.spanId;
    }
    assertEquals(spans!.length, 4);
    assertEquals(chain.map(({ kind }) => kind), [CLIENT, SERVER, CLIENT, SERVER]);
    for (const { name } of chain) assertEquals(name, "GET");
    const [first, , , last] = chain;
    assertEquals(first!.attributes["server.address"], "127.0.0.1");
    assertMatch(String(last!.attributes["url.path"]), /^\/[a-z]+$/);
    assertEquals(last!.attributes["url.scheme"], "http");
    statuses.push(chain.map(({ attributes, status, events }) => [
      Number(attributes["http.response.status_code"] ?? 0),
      attributes["error.type"] ?? null,
      status.code,
      events.length,
    ]));
  }
  const failed = [[0, "EmptyPreambleError", 2, 1], [0, "RangeError", 2, 1]];
  assertEquals(statuses.toSorted((a, b) => `${a}` < `${b}` ? -1 : 1), [
    [[200, null, 0, 0], [200, null, 0, 0], [200, null, 0, 0], [200, null, 0, 0]],
    [[404, "404", 2, 0], [404, null, 0, 0], [404, "404", 2, 0], [404, null, 0, 0]],
    [[502, "502", 2, 0], [502, "502", 2, 0], ...failed],
  ]);
  for (const metric of ["http.server.request.duration", "http.client.request.duration"]) {
    assert(sent.includes(metric), metric);
  }
  for (const secret of ["hidden-token", "hidden-cookie", "c2VjcmV0"]) {
    assert(!sent.includes(secret));
  }
});

// Telemetry that fails, or that must not have what it gets, changes no request.

/** A traced server, and traced and plain clients of it, while what they record is recorded here. */
function serveTraced() {
  register();
  const logger = new RecordingLogger();
  const serving = serve(
    tracedApp(({ path: [what] }) => {
      if (what === "fail") throw new Error("of the app");
      return [200, "OK", {}, null];
    }),
    { logger },
  );
  const plain = new Client(serving.address);
  return { logger, serving, plain, client: tracedClient(plain) };
}

Deno.test("whichever part of telemetry fails, requests are answered, and fail with their own errors", async () => {
  const { logger, serving, plain, client } = serveTraced();
  await using _serving = serving;
  const names = "startSpan setAttributes setStatus recordException end record inject extract";
  for (failing of names.split(" ")) {
    assertEquals((await plain.request("GET", "/")).status, 200, failing);
    assertEquals((await client.request("GET", "/")).status, 200, failing);
    await assertRejects(() => client.request("GET", "/fail"), Error, "closed");
  }
  failing = "";
  unregister();
  assertEquals([...failed].toSorted(), names.split(" ").toSorted());
  for (const line of logger.at("error")) assertEquals(line.includes("of the app"), true, line);
});

Deno.test("a wrong argument of a client, which may be a secret, is not recorded", async () => {
  const { serving, client } = serveTraced();
  await using _serving = serving;
  recorded.length = 0;
  const uris = [["GET", "/a b?secret"], ["GET", "a?secret"], ["GET", "/a#secret"]];
  for (const args of [...uris, ["secret", "/"], ["GET", "/", { "X secret": "" }]]) {
    const request = () => Reflect.apply(client.request, client, args) as Promise<unknown>;
    await assertRejects(request, RangeError);
  }
  unregister();
  const text = Deno.inspect(recorded, { depth: 9, iterableLimit: 999 });
  assertEquals([text.includes("secret"), text.includes("_OTHER")], [false, true], text);
});

Deno.test("a baggage that can't be decoded is left out", async () => {
  const { serving, plain } = serveTraced();
  await using _serving = serving;
  recorded.length = 0;
  for (const baggage of ["a=b%20c", "a=%E0%A4%A"]) await plain.request("GET", "/", { baggage });
  unregister();
  const seen = recorded.filter((each) => typeof each === "object" && "baggage" in each!);
  assertEquals(seen, [{ baggage: "a=b%20c" }, { baggage: "" }]);
});
