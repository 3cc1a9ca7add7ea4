/** What a collector receives from Deno's own exporter. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { collect } from "@degu/testing/collector.ts";

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
    assertEquals(chain.map(({ kind, name }) => [kind, name]), [
      [CLIENT, "GET"],
      [SERVER, "GET"],
      [CLIENT, "GET"],
      [SERVER, "GET"],
    ]);
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
  assertEquals(statuses.toSorted((a, b) => `${a}` < `${b}` ? -1 : 1), [
    [[200, null, 0, 0], [200, null, 0, 0], [200, null, 0, 0], [200, null, 0, 0]],
    [[404, "404", 2, 0], [404, null, 0, 0], [404, "404", 2, 0], [404, null, 0, 0]],
    [[502, "502", 2, 0], [502, "502", 2, 0], [0, "EmptyPreambleError", 2, 1], [
      0,
      "RangeError",
      2,
      1,
    ]],
  ]);
  for (const metric of ["http.server.request.duration", "http.client.request.duration"]) {
    assert(sent.includes(metric), metric);
  }
  for (const secret of ["hidden-token", "hidden-cookie", "c2VjcmV0"]) {
    assert(!sent.includes(secret));
  }
});
