/** The option `dial` of a client. */
import type { Socket } from "@degu/degu/base";
import { Client, ConnectionClosedError, createFetch, reply, SSLClient } from "@degu/degu";
import type { ClientOptions, ConnectLimits } from "@degu/degu/client";
import { TempPKI } from "@degu/degu/misc";
import { constructWith } from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { serve } from "@degu/testing/serving.ts";
import { assert, assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";

const ADDRESS = ["camera.invalid", 80] as const;

function makeDial(port: number): NonNullable<ClientOptions["dial"]> {
  return () => Deno.connect({ hostname: "127.0.0.1", port });
}

Deno.test("a client sends its requests over the sockets of dial, which gets the address and the limits", async () => {
  await using serving = serve(({ headers }) => reply(200, `${headers.host}`));
  const calls: unknown[] = [];
  const dial = (address: unknown, limits: ConnectLimits) => {
    calls.push([address, limits]);
    return Deno.connect({ hostname: "127.0.0.1", port: serving.server.port! });
  };
  const client = new Client(ADDRESS, { dial, timeout: 7 });
  assertEquals(await (await client.get("/")).text(), "camera.invalid");
  using conn = await client.connect();
  assertEquals((await conn.get("/")).status, 200);
  assertEquals(calls, Array(2).fill([ADDRESS, { timeout: 7, signal: undefined }]));
});

Deno.test("the scheme of a client with dial is http, unless its option names https", async () => {
  await using serving = serve(() => reply(204));
  const dial = makeDial(serving.server.port!);
  for (const options of [{ dial }, { dial, scheme: "http" }, { dial, scheme: "https" }] as const) {
    const { scheme = "http" } = options as ClientOptions;
    const client = new Client(ADDRESS, options);
    assertEquals([client.scheme, client.host], [
      scheme,
      "camera.invalid" + (scheme === "http" ? "" : ":80"),
    ]);
    assertEquals((await createFetch(client)("/a")).url, `${scheme}://${client.host}/a`);
  }
});

Deno.test("dial and scheme are refused where they would have no effect", async (t) => {
  await using pki = await TempPKI.create();
  const sslconfig = pki.clientSslconfig;
  const dial = () => Promise.reject(new Error("unused"));
  const rows: [label: string, make: () => unknown, problem: string][] = [
    ["scheme alone", () => constructWith(Client, ADDRESS, { scheme: "https" }), "only with"],
    [
      "an SSLClient with dial",
      () => constructWith(SSLClient, sslconfig, ADDRESS, { dial }),
      "dial",
    ],
    [
      "an SSLClient with both",
      () => constructWith(SSLClient, sslconfig, ADDRESS, { dial, scheme: "http" }),
      "dial",
    ],
    ["no function", () => constructWith(Client, ADDRESS, { dial: {} }), "dial"],
    ["null", () => constructWith(Client, ADDRESS, { dial: null }), "dial"],
  ];
  await testEachRow(t, rows, (_label, make, problem) => {
    assertThrows(make, TypeError, problem);
  });
  assertThrows(() => constructWith(Client, ADDRESS, { dial, scheme: "ftp" }), RangeError, "scheme");
});

Deno.test("a result of dial that is not a new socket rejects the call", async (t) => {
  const rows: [label: string, result: unknown][] = [
    ["nothing", undefined],
    ["a boolean", true],
    ["an object without write", { read() {}, close() {} }],
  ];
  await testEachRow(t, rows, async (_label, result) => {
    const client = new Client(ADDRESS, { dial: (() => result) as ClientOptions["dial"] });
    await assertRejects(() => client.request("GET", "/"), TypeError, "dial(): must be");
  });
});

Deno.test("a socket that dial returns twice is refused, and its first connection continues", async () => {
  await using serving = serve(() => reply(204));
  const socket = await makeDial(serving.server.port!)(ADDRESS, { timeout: 1, signal: undefined });
  const options = { dial: () => Promise.resolve(socket) };
  using conn = await new Client(ADDRESS, options).connect();
  await assertRejects(() => new Client(ADDRESS, options).connect(), TypeError, "a new socket");
  assertEquals((await conn.get("/")).status, 204);
});

Deno.test("the error of dial rejects the call unchanged", async () => {
  const error = new Error("the tunnel is closed");
  const failing: NonNullable<ClientOptions["dial"]>[] = [
    () => Promise.reject(error),
    () => {
      throw error;
    },
  ];
  for (const dial of failing) {
    const client = new Client(ADDRESS, { dial });
    assertStrictEquals(await assertRejects(() => client.connect()), error);
    assertStrictEquals(await assertRejects(() => client.get("/")), error);
  }
});

Deno.test("an abort rejects at once, and a socket that dial returns later is closed", async () => {
  const dialed = Promise.withResolvers<Socket>();
  const closed = Promise.withResolvers<void>();
  const fail = () => Promise.reject(new Error("unused"));
  const client = new Client(ADDRESS, { dial: () => dialed.promise });
  const controller = new AbortController();
  const rejection = assertRejects(() => client.connect({ signal: controller.signal }));
  const reason = new Error("no longer wanted");
  controller.abort(reason);
  assertStrictEquals(await rejection, reason);
  dialed.resolve({ read: fail, write: fail, close: () => closed.resolve() });
  await closed.promise;
});

Deno.test("the trust of a socket of dial ends its connection", async () => {
  await using serving = serve(() => reply(204));
  const controller = new AbortController();
  const dial = async () => {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: serving.server.port! });
    return Object.assign(conn, { trust: controller.signal });
  };
  using conn = await new Client(ADDRESS, { dial }).connect();
  assertEquals((await conn.get("/")).status, 204);
  controller.abort(new Error("not trusted"));
  assert(conn.closed);
  await assertRejects(() => conn.get("/"), ConnectionClosedError, "not trusted");
});
