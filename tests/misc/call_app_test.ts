/** Apps that are called without a server. */
import { type App, Body, BodyError, reply, Response, Session } from "@degu/degu";
import { peerOf } from "@degu/degu/device";
import { callApp, mkreq } from "@degu/degu/misc";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { streamOf } from "@degu/testing/streams.ts";
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";

Deno.test("callApp resolves to what the app answers, as a Response", async () => {
  const bytes = new Uint8Array(3);
  const apps: App[] = [
    () => [201, "Created", { a: "b" }, bytes],
    () => Promise.resolve([201, "Created", { a: "b" }, bytes]),
    () => new Response(201, "Created", { a: "b" }, bytes),
    { handle: () => [201, "Created", { a: "b" }, bytes] },
  ];
  for (const app of apps) {
    const response = await callApp(app, mkreq("GET", "/"));
    assertInstanceOf(response, Response);
    assertEquals([...response], [201, "Created", { a: "b" }, bytes]);
    assertStrictEquals(response.body, bytes);
  }
});

Deno.test("callApp hands the request, the session and the classes to the app", async () => {
  const session = new Session("mine", null, 1);
  const request = mkreq("GET", "/a/b?c");
  const response = await callApp(
    (given, its, api) => {
      assertStrictEquals(given, request);
      assertStrictEquals(its, session);
      return [200, "OK", {}, new api.Body(streamOf(new Uint8Array(2)), 2)];
    },
    request,
    { session },
  );
  assertInstanceOf(response.body, Body);
});

Deno.test("callApp does not ask onConnect", async () => {
  const app = { handle: () => reply(200), onConnect: () => false };
  assertEquals((await callApp(app, mkreq("GET", "/"))).status, 200);
});

Deno.test("callApp refuses an answer that a server would refuse, and cancels its body", async () => {
  const rows: [answer: unknown, kind: typeof TypeError | typeof RangeError][] = [
    [undefined, TypeError],
    [[200, "OK", {}], TypeError],
    [[200, "OK", { "Content-Type": "a" }, null], RangeError],
    [[700, "OK", {}, null], RangeError],
    [[200, "", {}, null], RangeError],
    [[204, "No Content", {}, new Uint8Array(1)], RangeError],
    [[200, "OK", {}, 5], TypeError],
  ];
  for (const [answer, kind] of rows) {
    const calling = callApp((() => answer) as unknown as App, mkreq("GET", "/"));
    assertInstanceOf(await rejectionOf(calling, Deno.inspect(answer)), kind, Deno.inspect(answer));
  }
  const body = new Body(streamOf(new Uint8Array(2)), 2);
  await rejectionOf(callApp(() => [200, "", {}, body], mkreq("GET", "/")), "a bad reason");
  assert(body.used);
  const upload = mkreq(
    "PUT",
    "/",
    { "content-length": 2 },
    new Body(streamOf(new Uint8Array(2)), 2),
  );
  const echo = callApp(({ body }) => [200, "OK", {}, body], upload);
  assertInstanceOf(await rejectionOf(echo, "the body of the request"), BodyError);
});

Deno.test("callApp answers 413, as a server does, if the body of the request is too long for the app", async () => {
  const app: App = async (request) => {
    const { body } = request;
    (request as { body: unknown }).body = null;
    return reply(200, await body!.text({ maxBytes: 4 }));
  };
  assertEquals([...await callApp(app, mkreq("PUT", "/", {}, "four"))].slice(0, 2), [200, "OK"]);
  const refused = await callApp(app, mkreq("PUT", "/", {}, "five!"));
  assertEquals([refused.status, refused.reason, refused.headers], [413, "Content Too Large", {}]);
  assertEquals(await refused.text(), "");
  const other: App = async () =>
    reply(200, await new Body(streamOf(new Uint8Array(2)), 2).text({ maxBytes: 1 }));
  const error = await rejectionOf(callApp(other, mkreq("PUT", "/", {}, "five!")), "another body");
  assertInstanceOf(error, BodyError);
});

Deno.test("callApp: an error of the app is that of the call", async () => {
  const error = new Error("broken");
  const calling = callApp(() => Promise.reject(error), mkreq("GET", "/"));
  assertStrictEquals(await rejectionOf(calling, "broken"), error);
});

Deno.test("callApp: peer is what peerOf(session) gives", async () => {
  const name: App = (_request, session) =>
    reply(200, `${peerOf(session).name} ${peerOf(session).id}`);
  const said = async (peer: string) => {
    const { body } = await callApp(name, mkreq("GET", "/"), { peer });
    return new TextDecoder().decode(body as Uint8Array);
  };
  const camera = await said("camera");
  assertEquals(camera.slice(0, 7), "camera ");
  assertEquals(await said("camera"), camera);
  assert(await said("viewer") !== camera);
  const peer = { id: "x", name: "y", addresses: [], pairedAt: new Date(5), certificate: "" };
  const response = await callApp(
    (_request, session) => {
      assertStrictEquals(peerOf(session), peer);
      return reply(200);
    },
    mkreq("GET", "/"),
    { peer },
  );
  assertEquals(response.status, 200);
  const without = await rejectionOf(callApp(name, mkreq("GET", "/")), "no peer");
  assertStringIncludes((without as Error).message, "callApp without the option peer");
});

Deno.test("callApp refuses wrong arguments", async () => {
  const call = callApp as (...args: unknown[]) => Promise<unknown>;
  const app: App = () => reply(200);
  const request = mkreq("GET", "/");
  const rows: unknown[][] = [
    [undefined, request],
    [{}, request],
    [app, undefined],
    [app, request, null],
    [app, request, { session: {} }],
    [app, request, { peer: 5 }],
    [app, request, { peers: "a" }],
  ];
  for (const args of rows) {
    const error = await rejectionOf(call(...args), Deno.inspect(args));
    assertInstanceOf(error, TypeError, Deno.inspect(args));
  }
});
