/** Event streams through a ProxyApp, and the end of its server. */
import { type App, Client, ProxyApp, type ProxyOptions, reply } from "@degu/degu";
import { makeProgramCommand } from "@degu/testing/programs.ts";
import { RunningProcess } from "@degu/testing/processes.ts";
import { serve } from "@degu/testing/serving.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";

/** Responds with a stream that never ends; `types` are the content-types by path. */
function makeStreams(types: Record<string, string>): App & { readonly canceled: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const app: App = ({ path }) => {
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new TextEncoder().encode("data: 1\n\n")),
      cancel: () => resolve(),
    });
    return reply(200, stream, { "content-type": types[`${path[0]}`]! });
  };
  return Object.assign(app, { canceled: promise });
}

const EVENTS = {
  plain: "text/event-stream",
  charset: "text/event-stream;charset=utf-8",
  capitals: "Text/Event-Stream ; charset=utf-8",
};

async function openStream(client: Client, path: string) {
  const response = await client.request("GET", `/${path}`);
  const reader = response.body!.readable.getReader();
  const { value } = await reader.read();
  assertEquals(new TextDecoder().decode(value), "data: 1\n\n");
  return reader;
}

Deno.test("an aborted signal ends an event stream through a proxy as a complete message, and frees its upstream", async () => {
  for (const path of Object.keys(EVENTS)) {
    const streams = makeStreams(EVENTS);
    await using upstream = serve(streams);
    const stop = new AbortController();
    await using app = new ProxyApp(upstream.makeClient(), { signal: stop.signal });
    await using proxy = serve(app);
    const reader = await openStream(proxy.makeClient(), path);
    stop.abort();
    assertEquals((await reader.read()).done, true);
    await streams.canceled;
    await proxy.server.shutdown();
    const { lines } = proxy.logger;
    assertEquals(lines.filter(([level]) => level === "error" || level === "warn"), []);
    // A stream that begins later ends at once.
    await using later = serve(app);
    const response = await later.makeClient().request("GET", `/${path}`);
    assertEquals(await response.text(), "");
  }
});

Deno.test("an aborted signal doesn't end other responses of unknown length", async () => {
  const more = Promise.withResolvers<void>();
  async function* pieces() {
    yield "a";
    await more.promise;
    yield "b";
  }
  const app: App = () => reply(200, pieces(), { "content-type": "text/event-streams" });
  await using upstream = serve(app);
  const stop = new AbortController();
  await using proxy = serve(new ProxyApp(upstream.makeClient(), { signal: stop.signal }));
  const response = await proxy.makeClient().request("GET", "/");
  const text = response.text();
  stop.abort();
  more.resolve();
  assertEquals(await text, "ab");
});

Deno.test("with a signal, an event stream still breaks off if its upstream breaks off, and ends with its client", async () => {
  const streams = makeStreams(EVENTS);
  await using upstream = serve(streams);
  const { signal } = new AbortController();
  await using proxy = serve(new ProxyApp(upstream.makeClient(), { signal }));
  const reader = await openStream(proxy.makeClient(), "plain");
  await reader.cancel();
  await streams.canceled;
  const broken = await openStream(proxy.makeClient(), "plain");
  upstream.server.close();
  await assertRejects(() => broken.read());
});

Deno.test("an event stream through a proxy keeps its chunks", async () => {
  async function* events() {
    yield "data: 1\n\n";
    await Promise.resolve();
    yield "data: 2\n\n";
  }
  await using upstream = serve(() => reply(200, events(), { "content-type": EVENTS.plain }));
  const { signal } = new AbortController();
  await using proxy = serve(new ProxyApp(upstream.makeClient(), { signal }));
  const { body } = await proxy.makeClient().request("GET", "/");
  assert(body?.chunked);
  const sizes = (await Array.fromAsync(body)).map(([, data]) => data.length);
  assertEquals(sizes, [9, 9, 0]);
});

Deno.test("SIGTERM ends a proxy with an open event stream, without a deadline", async () => {
  const streams = makeStreams(EVENTS);
  await using upstream = serve(streams);
  await using process = new RunningProcess(
    makeProgramCommand("event_stream_proxy.ts", {
      flags: ["--allow-net=127.0.0.1"],
      args: [String(upstream.server.port)],
    }).spawn(),
  );
  const port = Number(await process.waitForStdout(/[0-9]+/));
  const reader = await openStream(new Client(["127.0.0.1", port]), "plain");
  process.child.kill("SIGTERM");
  assertEquals((await reader.read()).done, true);
  assertEquals((await process.waitForEnd()).success, true);
});

Deno.test("a wrong signal of a proxy is a TypeError", () => {
  const client = new Client(["127.0.0.1", 1]);
  const make = (signal: unknown) => () => new ProxyApp(client, { signal } as ProxyOptions);
  for (const signal of [null, 5, {}, new AbortController()]) assertThrows(make(signal), TypeError);
});
