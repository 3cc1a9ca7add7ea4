/** Telemetry that fails, or that must not have what it gets, changes no request. */
import { assertEquals, assertRejects } from "@std/assert";
import { Client } from "@degu/degu/client";
import { tracedApp, tracedClient } from "@degu/degu/otel";
import {
  type Attributes,
  INVALID_SPAN_CONTEXT,
  type Meter,
  metrics,
  propagation,
  type Span,
  trace,
} from "npm:@opentelemetry/api@^1.9.0";
import { RecordingLogger, serve } from "@degu/testing/serving.ts";

/** The function of telemetry that fails now. */
let failing = "";
const failed = new Set<string>();
/** What was recorded. */
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
  const rows = [
    ["GET", "/a b?secret"],
    ["GET", "a?secret"],
    ["GET", "/a#secret"],
    ["secret", "/"],
    ["GET", "/", { "X secret": "" }],
  ];
  for (const args of rows) {
    const error = await assertRejects(() =>
      Reflect.apply(client.request, client, args) as Promise<unknown>
    );
    assertEquals(error instanceof RangeError, true);
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
