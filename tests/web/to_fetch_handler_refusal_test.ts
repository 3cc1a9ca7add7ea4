/** toFetchHandler: requests that other servers accept and our own does not, as far as that can be detected. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import type { AppFunction } from "@degu/degu/server";
import { toFetchHandler } from "@degu/degu";
import { tempDir } from "@degu/testing/directories.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { type DenoServing, serveWithDeno } from "@degu/testing/web_serving.ts";

const encoder = new TextEncoder();

/** Tells how often it was called. */
class Counting {
  calls: string[] = [];
  readonly app: AppFunction = ({ uri }) => {
    this.calls.push(uri);
    return [200, "OK", {}, null];
  };

  take(): string[] {
    return this.calls.splice(0);
  }
}

/** Makes a request of text, which is sent as UTF-8, and gives the status and the text of the answer. */
async function ask(peer: RawPeer, request: string): Promise<{ status: number; text: string }> {
  await peer.send(encoder.encode(request));
  const preamble = await peer.readPreamble();
  const length = /content-length: (\d+)/i.exec(preamble)?.[1] ?? "0";
  return { status: Number(preamble.slice(9, 12)), text: await peer.readExactly(Number(length)) };
}

async function askOnce(server: DenoServing, request: string) {
  using peer = await RawPeer.connect(server.address);
  return await ask(peer, request);
}

Deno.test("no character of a target or a host is truncated to another one", async (t) => {
  const counting = new Counting();
  await using server = serveWithDeno(counting.app);
  const forged = "/admin\u0120HTTP/1.1\u010d\u010ax-user:\u0120root";
  const rows: [name: string, request: string][] = [
    ["a request line and a header in the target", `GET ${forged} HTTP/1.1\r\nhost: a\r\n\r\n`],
    ["a header in the query", `GET /?\u010d\u010ax:\u0120y HTTP/1.1\r\nhost: a\r\n\r\n`],
    ["a header in the host", `GET / HTTP/1.1\r\nhost: a\u010d\u010ax:\u0120y\r\n\r\n`],
    ["a header in a value", `GET / HTTP/1.1\r\nhost: a\r\nx: y\u010d\u010az:\u0120w\r\n\r\n`],
    ["a path in the host", `GET / HTTP/1.1\r\nhost: a/admin\r\n\r\n`],
    ["a fragment in the host", `GET / HTTP/1.1\r\nhost: a/admin#\r\n\r\n`],
    ["a query in the host", `GET /b HTTP/1.1\r\nhost: a?\r\n\r\n`],
  ];
  for (const [name, request] of rows) {
    await t.step(name, async () => {
      assertEquals((await askOnce(server, request)).status, 400);
      assertEquals(counting.take(), []);
    });
  }
  await t.step("every character with the low byte of an allowed or dangerous one", async () => {
    using peer = await RawPeer.connect(server.address);
    for (let low = 9; low < 0x7f; low++) {
      for (const high of [0x100, 0x200, 0x2100, 0x1f400]) {
        const character = String.fromCodePoint(high + low);
        const { status } = await ask(peer, `GET /${character} HTTP/1.1\r\nhost: a\r\n\r\n`);
        assertEquals([status, counting.take()], [400, []], (high + low).toString(16));
      }
    }
  });
  assertEquals(server.errors, []);
});

Deno.test("a fake Request object can't forge anything either", async (t) => {
  const counting = new Counting();
  const handler = toFetchHandler(counting.app);
  const good = { method: "GET", url: "http://a/", headers: new Headers(), body: null };
  /** What an adapter that does not check anything could hand over. */
  const headersOf = (name: string, value: string) =>
    Object.assign(new Headers(), { [Symbol.iterator]: () => [[name, value]].values() });
  const rows: [name: string, request: object][] = [
    ["a line end in the method", { method: "GET / HTTP/1.1\r\nx: y\r\n\r\n" }],
    ["a line end in the target", { url: "http://a/b HTTP/1.1\r\nx: y" }],
    ["a surrogate in the target", { url: "http://a/\ud83d" }],
    ["a line end in the host", { url: "http://a\r\nx: y/" }],
    ["a line end in a value", { headers: headersOf("x", "y\r\nz: w") }],
    ["a line end in a name", { headers: headersOf("x: y\r\nz", "w") }],
    ["a value beyond Latin-1", { headers: headersOf("x", "y\u010d\u010az:\u0120w") }],
    ["a name beyond Latin-1", { headers: headersOf("x\u013a", "y") }],
    ["another scheme", { url: "ftp://a/" }],
    ["no URL", { url: "/a" }],
  ];
  for (const [name, request] of rows) {
    await t.step(name, async () => {
      const { status } = await handler({ ...good, ...request } as Request);
      assertEquals([status >= 400, counting.take()], [true, []]);
    });
  }
  await t.step("a valid one is accepted", async () => {
    const { status } = await handler(good as unknown as Request);
    assertEquals([status, counting.take()], [200, ["/"]]);
  });
});

Deno.test("a target with a host other than the header's is refused", async (t) => {
  const counting = new Counting();
  await using server = serveWithDeno(counting.app);
  const rows: [target: string, host: string, let_in: boolean][] = [
    ["http://b/x", "a", false],
    ["http://a:81/x", "a", false],
    ["http://a/x", "a:81", false],
    ["http://u:p@a/x", "a", false],
    ["http://u:p@a/x", "u:p@a", false],
    ["https://a:80/x", "a", false],
    ["http://a:443/x", "a", false],
    ["http://\u212a/x", "k", false],
    ["ftp://a/x", "a", false],
    ["//b/x", "a", false],
    // No handler can tell these from "/x".
    ["http://a/x", "a", true],
    ["http://A/x", "a", true],
    ["http://a:80/x", "A", true],
    ["http://a/x", "a:80", true],
    ["https://a:443/x", "a", true],
    ["http://[::1]:81/x", "[::1]:81", true],
    ["/x", "A:80", true],
  ];
  for (const [target, host, letIn] of rows) {
    await t.step(`${target}, ${host}`, async () => {
      const request = `GET ${target} HTTP/1.1\r\nhost: ${host}\r\n\r\n`;
      const { status } = await askOnce(server, request);
      assertEquals([status, counting.take()], letIn ? [200, ["/x"]] : [400, []]);
    });
  }
});

Deno.test("a fragment is refused if it was sent, and is not part of the target otherwise", async () => {
  const counting = new Counting();
  await using server = serveWithDeno(counting.app);
  const { status, text } = await askOnce(server, "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n");
  assertEquals([status, counting.take()], [400, []]);
  assertStringIncludes(text, "fragment");
  assertEquals((await toFetchHandler(counting.app)(new Request("http://a/a#b"))).status, 200);
  assertEquals(counting.take(), ["/a"]);
});

Deno.test("an authorization that a server has joined from two is refused", async (t) => {
  const counting = new Counting();
  await using server = serveWithDeno(counting.app);
  const rows: [values: string[], letIn: boolean][] = [
    [["Basic eDp5", "Bearer abc"], false],
    [["Bearer abc", "Bearer def"], false],
    [["Basic eDp5", "Basic eDp5"], false],
    [["bearer abc", "x"], false],
    [["Digest a=b", "Basic eDp5"], false],
    [["Basic eDp5 Bearer abc"], false],
    [["Basic eDp5,"], false],
    [["Basic,Bearer abc"], false],
    [["Basic eDp5=="], true],
    [["bearer  a-b.c_d~e+f/g="], true],
    [["Basic"], true],
    [["Basically a, b"], true],
    [['Digest username="a", realm="basic auth", uri="/"'], true],
  ];
  for (const [values, letIn] of rows) {
    await t.step(values.join(" | "), async () => {
      const lines = values.map((value) => `authorization: ${value}\r\n`).join("");
      const { status, text } = await askOnce(server, `GET / HTTP/1.1\r\nhost: a\r\n${lines}\r\n`);
      assertEquals([status, counting.take().length], letIn ? [200, 1] : [400, 0]);
      // Whoever logs the answer does not log the credentials.
      assertEquals(text.includes("eDp5"), false);
    });
  }
});

Deno.test("any other header may have what looks like several credentials", async () => {
  const counting = new Counting();
  await using server = serveWithDeno(counting.app);
  const request = "GET / HTTP/1.1\r\nhost: a\r\nx-offers: Basic a, Bearer b\r\n\r\n";
  assertEquals((await askOnce(server, request)).status, 200);
  assertEquals(counting.take().length, 1);
});

Deno.test("over a Unix socket of Deno's server a request has the host that it was sent with", async (t) => {
  await using dir = await tempDir();
  const path = `${dir.path}/socket`;
  const app: AppFunction = ({ uri, headers }) => {
    return [200, "OK", {}, encoder.encode(`${uri} ${headers["host"]}`)];
  };
  await using _server = Deno.serve({ path, onListen() {} }, toFetchHandler(app));
  const rows: [target: string, host: string | null, status: number, seen: string][] = [
    ["/a", "b", 200, "/a b"],
    ["/a", "b:80", 200, "/a b:80"],
    // Deno makes a host of the path of the socket, which is nobody's business.
    ["/a", null, 200, "/a undefined"],
    ["/a", "b/c", 400, ""],
    ["http://c/a", "b", 400, ""],
  ];
  for (const [target, host, status, seen] of rows) {
    await t.step(`${target}, ${host}`, async () => {
      using peer = await RawPeer.connect(path);
      const line = host === null ? "" : `host: ${host}\r\n`;
      const answer = await ask(peer, `GET ${target} HTTP/1.1\r\n${line}\r\n`);
      assertEquals(answer.status, status);
      if (status === 200) assertEquals(answer.text, seen);
    });
  }
});

Deno.test("after a request that was refused the connection can't be used", async () => {
  await using server = serveWithDeno(() => [200, "OK", {}, null]);
  using peer = await RawPeer.connect(server.address);
  await peer.send("GET /%41 HTTP/1.1\r\nhost: a\r\n\r\n");
  assertStringIncludes(await peer.readPreamble(), "\r\nconnection: close\r\n");
});
