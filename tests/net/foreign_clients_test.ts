/** Clients of another kind: how long a response of nothing is, and which response is their last one. */
import type { App, AppFunction } from "@degu/degu/server";
import { exchange } from "@degu/testing/raw_peer.ts";
import { eachRow } from "@degu/testing/rows.ts";
import { meet, serve } from "@degu/testing/serving.ts";
import { assertEquals } from "@std/assert";
import { Agent, request as ask } from "node:http";

const FOREIGN = [
  ...["user-agent: curl/8.5.0", "accept: */*", "accept-encoding: gzip", "Accept: text/html"],
  ...["connection: keep-alive", "Connection: Keep-Alive, te"],
];
const OURS = ["host: a", "x-accept: a", "accept-language: en", "connection: te", "user-agents: a"];
const CLOSE = "connection: close\r\n";
const EMPTY = "content-length: 0\r\n";

Deno.test("to a client of another kind a body of null is zero bytes, where a response may have a body", async (t) => {
  const rows: [method: string, status: number, isEmpty: boolean][] = [
    ["GET", 200, true],
    ["POST", 201, true],
    ["DELETE", 404, true],
    ["HEAD", 200, false],
    ["GET", 204, false],
    ["GET", 304, false],
  ];
  for (const [method, status, isEmpty] of rows) {
    await t.step(`${method} ${status}`, async () => {
      await using serving = serve(() => [status, "As told", {}, null]);
      for (const header of [...FOREIGN, ...OURS]) {
        const lines = isEmpty && FOREIGN.includes(header) ? EMPTY : "";
        const sent = `${method} / HTTP/1.1\r\n${header}\r\n\r\n`;
        const { received } = await exchange(serving.address, sent.repeat(2));
        assertEquals(received, `HTTP/1.1 ${status} As told\r\n${lines}\r\n`.repeat(2), header);
      }
    });
  }
});

Deno.test("to a client of another kind the last response says so, unless the app has spoken; and the log names its reason", async (t) => {
  const put = "content-length: 5\r\n\r\nhello";
  const status = (status: number): AppFunction => () => [status, "As told", {}, null];
  const reading: AppFunction = async ({ body }) => {
    await body!.bytes();
    return [200, "OK", {}, null];
  };
  const own = (value: string): AppFunction => () => [500, "As told", { connection: value }, null];
  const rows: [
    what: string,
    app: App,
    rest: string,
    lines: string,
    level: "debug" | "info",
    why: string,
  ][] = [
    ["500", status(500), "\r\n", CLOSE, "info", "a response with status 500"],
    ["401", status(401), "\r\n", CLOSE, "info", "a response with status 401"],
    [
      "unread",
      status(200),
      put,
      CLOSE,
      "info",
      "the body of a request was left unread (status 200)",
    ],
    [
      "unread, 404",
      status(404),
      put,
      CLOSE,
      "info",
      "the body of a request was left unread (status 404)",
    ],
    ["the third request", status(200), "\r\n", CLOSE, "info", "the limit of 3 requests"],
    ["the third request, 405", status(405), "\r\n", CLOSE, "info", "the limit of 3 requests"],
    ["the third request, read", reading, put, CLOSE, "info", "the limit of 3 requests"],
    ["te", own("te"), "\r\n", "connection: te\r\n", "info", "a response with status 500"],
    ["own", own("close"), "\r\n", CLOSE, "debug", "a response with connection: close (status 500)"],
  ];
  await eachRow(t, rows, async (_what, app, rest, lines, level, why) => {
    const sent = `PUT / HTTP/1.1\r\naccept: a\r\n${rest}`;
    await using meeting = await meet(app, sent.repeat(3), { maxRequests: 3 });
    const { received } = await meeting.peer.readToEnd();
    assertEquals(received.slice(received.lastIndexOf("HTTP/1.1 ")).split("\r\n").slice(1), [
      ...lines.split("\r\n").filter(Boolean),
      ...EMPTY.split("\r\n"),
      "",
    ]);
    assertEquals(meeting.session.message, why);
    assertEquals(meeting.logger.lines, [[level, `${meeting.session}: ended after ${why}`]]);
  });
  // Between two ends of ours nothing is added, and the log says it at level debug.
  await using meeting = await meet(status(500), "GET / HTTP/1.1\r\n\r\n");
  assertEquals((await meeting.peer.readToEnd()).received, "HTTP/1.1 500 As told\r\n\r\n");
  assertEquals(meeting.logger.lines.map(([level]) => level), ["debug"]);
});

Deno.test("a pool of node:http loses no request, whatever ends its connections", async () => {
  let calls = 0;
  const statuses = [200, 500, 404, 204, 401, 405];
  await using serving = serve(({ uri }) => {
    calls++;
    return [statuses[Number(uri.slice(1)) % 6]!, "As told", {}, null];
  }, { maxRequests: 5 });
  const [host, port] = serving.address as readonly [string, number];
  const agent = new Agent({ keepAlive: true, maxSockets: 2 });
  const one = (n: number) =>
    new Promise<number>((resolve, reject) => {
      ask({ agent, host, port, path: `/${n}`, method: "POST" }, (response) => {
        response.resume();
        response.on("end", () => resolve(response.statusCode!));
      }).on("error", reject).end();
    });
  const got = await Promise.all(Array.from({ length: 100 }, (_, n) => one(n)));
  agent.destroy();
  assertEquals(got, got.map((_, n) => statuses[n % 6]!));
  assertEquals(calls, 100);
});
