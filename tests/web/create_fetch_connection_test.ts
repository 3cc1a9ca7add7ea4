/** createFetch over a connection: its requests share it, and its owner closes it. */
import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { BodyError, ConnectionClosedError, DeguError } from "@degu/degu/base";
import { Client, type Connection } from "@degu/degu/client";
import type { App, AppFunction } from "@degu/degu/server";
import { createFetch } from "@degu/degu";
import { tempDir } from "@degu/testing/directories.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawServer, within } from "@degu/testing/raw_peer.ts";
import { serve, type Serving } from "@degu/testing/serving.ts";
import { slowStream } from "@degu/testing/web_serving.ts";

const encoder = new TextEncoder();

/** Tells which request of the connection it was, and what it carried. */
const countingApp: AppFunction = async (request, session) => {
  const text = await request.body?.text() ?? "";
  return [200, "OK", {}, encoder.encode(`${session.requests} ${request.uri} ${text}`)];
};

interface Connected extends AsyncDisposable {
  readonly serving: Serving;
  readonly conn: Connection;
  readonly fetch: typeof fetch;
}

/** Serves an application, connects to it, and makes a fetch over the connection. */
async function connect(app: App): Promise<Connected> {
  const serving = serve(app);
  const conn = await serving.makeClient().connect();
  return {
    serving,
    conn,
    fetch: createFetch(conn),
    [Symbol.asyncDispose]: async () => {
      conn.close();
      await serving[Symbol.asyncDispose]();
    },
  };
}

/** Asserts that a fetch rejects with a TypeError whose cause is of the class. */
async function assertCause(
  fetching: Promise<Response>,
  causeClass: new (message: string) => Error,
): Promise<void> {
  const error = await rejectionOf(fetching, "a fetch that fails");
  assertInstanceOf(error, TypeError);
  assertInstanceOf(error.cause, causeClass);
}

Deno.test("consecutive requests use the connection", async () => {
  await using connected = await connect(countingApp);
  const { fetch, conn } = connected;
  const texts = [];
  for (const body of ["text", slowStream("slow"), new Blob(["blob"])]) {
    texts.push(await (await fetch("/a", { method: "POST", body })).text());
  }
  texts.push(await (await fetch("/b")).text());
  assertEquals(texts, ["0 /a text", "1 /a slow", "2 /a blob", "3 /b "]);
  assert(!conn.closed);
});

Deno.test("a URL without an origin gets that of the connection", async () => {
  await using connected = await connect(countingApp);
  const { fetch, conn } = connected;
  const response = await fetch("/a");
  assertEquals(response.url, `http://${conn.baseHeaders?.["host"]}/a`);
  await response.body?.cancel();
  await using dir = await tempDir();
  await using serving = serve(countingApp, {}, `${dir.path}/socket`);
  using unix = await serving.makeClient().connect();
  const other = await createFetch(unix)("/a");
  assertEquals([other.url, await other.text()], ["http://localhost/a", "0 /a "]);
});

Deno.test("a request before the body of the last response is read rejects", async () => {
  await using connected = await connect(countingApp);
  const { fetch } = connected;
  const first = await fetch("/a");
  await assertCause(fetch("/b"), BodyError);
  assertEquals(await first.text(), "0 /a ");
  assertEquals(await (await fetch("/c")).text(), "1 /c ");
});

Deno.test("a request while another is pending rejects", async () => {
  const goOn = Promise.withResolvers<void>();
  await using connected = await connect(async (request, session, api) => {
    await goOn.promise;
    return countingApp(request, session, api);
  });
  const { fetch } = connected;
  const first = fetch("/a");
  await assertCause(fetch("/b"), DeguError);
  goOn.resolve();
  assertEquals(await (await first).text(), "0 /a ");
});

Deno.test("a caller's mistake leaves the connection usable", async () => {
  await using connected = await connect(countingApp);
  const { fetch } = connected;
  await assertCause(fetch("/", { headers: { a: "{}" } }), RangeError);
  await assertCause(fetch("/", { method: "PATCH" }), RangeError);
  assertEquals(await (await fetch("/a")).text(), "0 /a ");
});

Deno.test("a request on a connection that has ended rejects", async (t) => {
  await t.step("closed here", async () => {
    await using connected = await connect(countingApp);
    connected.conn.close();
    await assertCause(connected.fetch("/"), ConnectionClosedError);
  });
  await t.step("by a response that ends the session", async () => {
    await using connected = await connect(() => [500, "Internal Server Error", {}, null]);
    const { fetch } = connected;
    assertEquals((await fetch("/")).status, 500);
    await assertCause(fetch("/"), DeguError);
  });
});

Deno.test("redirects use the connection, whatever their bodies", async (t) => {
  const app =
    (redirectBody: Uint8Array | null, location: string): AppFunction => (request, session) => {
      if (request.path[0] !== "old") return countingApp(request, session, undefined as never);
      return [302, "Found", { location }, redirectBody];
    };
  for (const body of [null, new Uint8Array(0), new Uint8Array(100_000)]) {
    await t.step(`followed, ${body?.length ?? "no"} bytes`, async () => {
      await using connected = await connect(app(body, "/new"));
      assertEquals(await (await connected.fetch("/old")).text(), "1 /new ");
    });
    await t.step(`refused, ${body?.length ?? "no"} bytes`, async () => {
      await using connected = await connect(app(body, "http://other.local/"));
      const error = await rejectionOf(connected.fetch("/old"), "another origin");
      assertStringIncludes(String(error), "other.local");
      assertEquals(await (await connected.fetch("/new")).text(), "1 /new ");
    });
  }
  await t.step("one too long to be read ends it", async () => {
    await using connected = await connect((_request, _session, api) => {
      const piece = new Uint8Array(1048576);
      const pieces = new Array<Uint8Array>(17).fill(piece);
      return [302, "Found", { location: "/new" }, new api.BodyIter(pieces, 17 * piece.length)];
    });
    await assertCause(connected.fetch("/old"), ConnectionClosedError);
  });
});

Deno.test("a body that fetch does not expose is read", async () => {
  await using connected = await connect((request, session, api) =>
    request.path[0] === "reset"
      ? [205, "Reset Content", {}, new Uint8Array(10)]
      : countingApp(request, session, api)
  );
  const { fetch } = connected;
  const reset = await fetch("/reset");
  assertEquals([reset.status, reset.body], [205, null]);
  assertEquals(await (await fetch("/a")).text(), "1 /a ");
});

Deno.test("an abort closes a connection that is in use, but not an idle one", async (t) => {
  await t.step("before the first byte", async () => {
    await using connected = await connect(countingApp);
    const { fetch, conn } = connected;
    const reason = new Error("never mind");
    const early = fetch("/", { signal: AbortSignal.abort(reason) });
    assertEquals(await rejectionOf(early, "an abort"), reason);
    const request = new Request("http://a/", { signal: AbortSignal.abort(reason) });
    assertEquals(await rejectionOf(fetch(request), "an abort"), reason);
    assert(!conn.closed);
    assertEquals(await (await fetch("/a")).text(), "0 /a ");
  });
  await t.step("while waiting for the response", async () => {
    using server = new RawServer();
    using conn = await new Client(server.address).connect();
    const aborter = new AbortController();
    const reason = new Error("too slow");
    const rejection = rejectionOf(createFetch(conn)("/", { signal: aborter.signal }), "an abort");
    await (await server.accept()).readPreamble();
    aborter.abort(reason);
    assertEquals(await within(rejection, "the fetch rejects"), reason);
    assert(conn.closed);
  });
  await t.step("while reading", async () => {
    await using connected = await connect(() => [200, "OK", {}, new Uint8Array(10)]);
    const { fetch, conn } = connected;
    const aborter = new AbortController();
    const reason = new Error("enough");
    const response = await fetch("/", { signal: aborter.signal });
    aborter.abort(reason);
    assertEquals(await rejectionOf(response.bytes(), "an abort"), reason);
    assert(conn.closed);
  });
  const ends: [name: string, app: App, take: (response: Response) => Promise<unknown>][] = [
    ["after a body", countingApp, (response) => response.text()],
    ["after no body", () => [200, "OK", {}, null], (response) => response.text()],
    [
      "after an empty body",
      () => [200, "OK", {}, new Uint8Array(0)],
      (response) => response.text(),
    ],
    ["after a 204", () => [204, "No Content", {}, null], (response) => response.text()],
  ];
  for (const [name, app, take] of ends) {
    await t.step(name, async () => {
      await using connected = await connect(app);
      const { fetch, conn } = connected;
      const aborter = new AbortController();
      await take(await fetch("/", { signal: aborter.signal }));
      aborter.abort();
      assert(!conn.closed);
      await take(await fetch("/"));
    });
  }
  await t.step("after a mistake", async () => {
    await using connected = await connect(countingApp);
    const { fetch, conn } = connected;
    const aborter = new AbortController();
    await assertCause(fetch("/", { method: "PATCH", signal: aborter.signal }), RangeError);
    aborter.abort();
    assert(!conn.closed);
  });
});

Deno.test("a response that is canceled closes the connection", async () => {
  await using connected = await connect(() => [200, "OK", {}, new Uint8Array(10)]);
  const { fetch, conn } = connected;
  await (await fetch("/")).body?.cancel();
  assert(conn.closed);
});
