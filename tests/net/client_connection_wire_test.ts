/** What a connection writes to its socket: how it is divided into writes, and which header the body sets. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  Body,
  BodyIter,
  type BodyOut,
  ChunkedBody,
  ChunkedBodyIter,
  type HeaderDict,
} from "@degu/degu/base";
import { Connection } from "@degu/degu/client";
import type { ResponseTuple } from "@degu/degu";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { serve } from "@degu/testing/serving.ts";
import { streamOf } from "@degu/testing/streams.ts";
import { latin1 } from "@degu/testing/wire_grammar.ts";

const CHUNKED = "5;k=v\r\nhello\r\n0\r\n\r\n";

/** The five kinds of body, each with what it says, and the header that it sets. */
const kinds: readonly {
  readonly name: string;
  readonly make: () => BodyOut;
  readonly header: string;
  readonly bytes: string;
}[] = [
  {
    name: "Uint8Array",
    make: () => latin1("hello"),
    header: "content-length: 5",
    bytes: "hello",
  },
  {
    name: "Body",
    make: () => new Body(streamOf(latin1("hello")), 5),
    header: "content-length: 5",
    bytes: "hello",
  },
  {
    name: "BodyIter",
    make: () => new BodyIter([latin1("hello")], 5),
    header: "content-length: 5",
    bytes: "hello",
  },
  {
    name: "ChunkedBody",
    make: () => new ChunkedBody(streamOf(latin1(CHUNKED))),
    header: "transfer-encoding: chunked",
    bytes: CHUNKED,
  },
  {
    name: "ChunkedBodyIter",
    make: () => new ChunkedBodyIter([[["k", "v"], latin1("hello")], [null, latin1("")]]),
    header: "transfer-encoding: chunked",
    bytes: CHUNKED,
  },
];

/** Makes a request over a socket of its own; returns what was written. */
async function writesOf(headers: HeaderDict, body: BodyOut): Promise<string[]> {
  const socket = new RecordingSocket();
  using conn = new Connection(socket, null);
  const written = socket.written();
  const responding = conn.put("/", headers, body);
  await written;
  socket.give("HTTP/1.1 200 OK\r\n\r\n");
  await responding;
  return socket.writes;
}

Deno.test("a request and an available body are sent in one write", async (t) => {
  const preamble = "PUT / HTTP/1.1\r\na: b\r\n";
  assertEquals(await writesOf({ a: "b" }, null), [`${preamble}\r\n`]);
  for (const length of [0, 1, 1000, 32000]) {
    await t.step(`Uint8Array of ${length} bytes`, async () => {
      const body = new Uint8Array(length).fill(0x61);
      const header = `content-length: ${length}\r\n\r\n`;
      assertEquals(await writesOf({ a: "b" }, body), [preamble + header + "a".repeat(length)]);
    });
  }
  const [, , iter] = kinds;
  await t.step("BodyIter", async () => {
    const writes = await writesOf({ a: "b" }, iter!.make());
    assertEquals(writes.join(""), `${preamble}${iter!.header}\r\n\r\nhello`);
  });
});

Deno.test("a body of any size is sent whole", async (t) => {
  for (const length of [65400, 65500, 65536, 70000, 1000000]) {
    await t.step(`${length} bytes`, async () => {
      const body = new Uint8Array(length).fill(0x61);
      const sent = (await writesOf({}, body)).join("");
      const header = `PUT / HTTP/1.1\r\ncontent-length: ${length}\r\n\r\n`;
      assertEquals(sent.length, header.length + length);
      assert(sent.startsWith(header) && sent.endsWith("a"));
    });
  }
});

Deno.test("the header lines are sorted by name in byte order", async () => {
  const headers = { zeta: "1", "a-b": "2", a: "3", "a1": "4", "0": "5", b: "6", range1: "7" };
  const [sent = ""] = await writesOf(headers, latin1("x"));
  const names = sent.split("\r\n").slice(1, -2).map((line) => line.slice(0, line.indexOf(":")));
  assertEquals(names, ["0", "a", "a-b", "a1", "b", "content-length", "range1", "zeta"]);
});

Deno.test("the body sets its header; an existing one must be equal", async (t) => {
  for (const { name, make, header, bytes } of kinds) {
    await t.step(name, async () => {
      const [headerName = "", text = ""] = header.split(": ");
      const right = headerName === "content-length" ? Number(text) : text;
      const wrong = headerName === "content-length" ? 6 : "identity";
      const other = headerName === "content-length"
        ? { "transfer-encoding": "chunked" }
        : { "content-length": 5 };
      const expected = `PUT / HTTP/1.1\r\n${header}\r\n\r\n${bytes}`;
      assertEquals((await writesOf({}, make())).join(""), expected);
      assertEquals((await writesOf({ [headerName]: right }, make())).join(""), expected);
      for (const headers of [{ [headerName]: wrong }, other, { [headerName]: right, ...other }]) {
        const socket = new RecordingSocket();
        using conn = new Connection(socket, null);
        await assertRejects(() => conn.put("/", headers as HeaderDict, make()), RangeError);
        assertEquals(socket.writes, []);
        assertEquals(conn.closed, false);
      }
    });
  }
});

/** Serves one request; returns everything that came back. */
async function answerTo(request: string, answer: ResponseTuple): Promise<string> {
  await using serving = serve(() => answer, { maxRequests: 1 });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(request);
  return (await peer.readToEnd()).received;
}

Deno.test("a server also sets the header of the body, and adds nothing else", async (t) => {
  const get = "GET / HTTP/1.1\r\n\r\n";
  const headers = { zeta: "1", alpha: "2" };
  const empty = await answerTo(get, [200, "OK", headers, null]);
  assertEquals(empty, "HTTP/1.1 200 OK\r\nalpha: 2\r\nzeta: 1\r\n\r\n");
  assertEquals(headers, { zeta: "1", alpha: "2" });
  for (const { name, make, header, bytes } of kinds) {
    await t.step(name, async () => {
      const received = await answerTo(get, [200, "OK", { zeta: "1", alpha: "2" }, make()]);
      const lines = ["alpha: 2", header, "zeta: 1"].join("\r\n");
      assertEquals(received, `HTTP/1.1 200 OK\r\n${lines}\r\n\r\n${bytes}`);
    });
  }
});

Deno.test("for HEAD and 304 a single header of the body is sent as given", async (t) => {
  const rows: readonly (readonly [method: string, status: number])[] = [
    ["HEAD", 200],
    ["HEAD", 404],
    ["HEAD", 304],
    ["GET", 304],
    ["PUT", 304],
  ];
  for (const [method, status] of rows) {
    for (const headers of [{ "content-length": 7 }, { "transfer-encoding": "chunked" }, {}]) {
      await t.step(`${method} ${status} ${Deno.inspect(headers)}`, async () => {
        const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
        assertEquals(
          await answerTo(`${method} / HTTP/1.1\r\n\r\n`, [
            status,
            "As it is",
            { ...headers },
            null,
          ]),
          `HTTP/1.1 ${status} As it is\r\n${lines.join("")}\r\n`,
        );
      });
    }
  }
});

Deno.test("a socket that writes a few bytes at a time gets all of them, in order", async (t) => {
  for (const perWrite of [1, 7, 100]) {
    for (const { name, make, header, bytes } of kinds) {
      await t.step(`${perWrite} bytes at a time: ${name}`, async () => {
        const socket = new RecordingSocket({ perWrite });
        using conn = new Connection(socket, { host: "example.com" });
        const written = socket.written();
        const responding = conn.put("/", {}, make());
        await written;
        socket.give("HTTP/1.1 200 OK\r\n\r\n");
        await responding;
        const lines = [header, "host: example.com"].toSorted().join("\r\n");
        assertEquals(socket.writes.join(""), `PUT / HTTP/1.1\r\n${lines}\r\n\r\n${bytes}`);
      });
    }
  }
});
