/** The readers of preambles: their limits, the hosts of a server, empty lines and empty bodies. */
import { ProtocolError } from "@degu/degu/base";
import { ReadBuffer } from "@degu/internal/base/body/byte_io.ts";
import { RequestReader, type ServedHosts } from "@degu/internal/net/protocol/request_reader.ts";
import { ResponseReader } from "@degu/internal/net/protocol/response_reader.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assert, assertEquals } from "@std/assert";

const MAX_PREAMBLE_BYTES = 32768;

interface Reader {
  readonly buffer: ReadBuffer;
  readonly isAtStart: boolean;
  read(): string | null;
}

interface ServerFacts {
  readonly hosts?: ServedHosts;
  readonly isEncrypted?: boolean;
  readonly address?: readonly [string, number] | null;
}

function makeRequestReader(
  { hosts = "any", isEncrypted = false, address = ["127.0.0.1", 1] }: ServerFacts = {},
): Reader {
  const reader = new RequestReader(new ReadBuffer(), isEncrypted, address, hosts);
  return {
    buffer: reader.buffer,
    get isAtStart() {
      return reader.isAtStart;
    },
    read() {
      const request = reader.read();
      return request && `${request.method} ${request.target.uri} ${request.framing}`;
    },
  };
}

function makeResponseReader(): Reader {
  const reader = new ResponseReader(new ReadBuffer());
  return {
    buffer: reader.buffer,
    get isAtStart() {
      return reader.isAtStart;
    },
    read() {
      const response = reader.read("GET");
      return response && `${response.status}`;
    },
  };
}

/** Returns what the reader returns, up to the first error, if the bytes arrive in these parts. */
function readParts(reader: Reader, parts: Iterable<Uint8Array>): string[] {
  const messages: string[] = [];
  try {
    for (const part of parts) {
      for (let at = 0; at < part.length;) {
        const room = reader.buffer.makeRoom();
        const bytes = part.subarray(at, at + room.length);
        room.set(bytes);
        at += reader.buffer.countRead(bytes.length);
        for (let message; (message = reader.read()) !== null;) {
          assert(reader.isAtStart);
          messages.push(message);
        }
        assertEquals(reader.isAtStart, reader.buffer.bufferedBytes === 0);
      }
    }
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    // Whole preambles have better errors than prefixes.
    messages.push(error.code.replace(/^BAD_.*/, "BAD"));
  }
  return messages;
}

function* divide(text: string): Generator<readonly Uint8Array[]> {
  const bytes = encodeLatin1(text);
  for (let at = 0; at <= bytes.length; at++) yield [bytes.subarray(0, at), bytes.subarray(at)];
  yield Array.from(bytes, (byte) => new Uint8Array([byte]));
}

const EMPTY_CHUNKED = "transfer-encoding: chunked\r\n\r\n0\r\n\r\n";
const REQUESTS: readonly (readonly [text: string, ...messages: string[]])[] = [
  ["GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n", "GET /a null", "GET /b null"],
  ["\r\nGET /a HTTP/1.1\r\n\r\n\r\nGET /b HTTP/1.1\r\n\r\n", "GET /a null", "GET /b null"],
  ["\r\n\r\nGET /a HTTP/1.1\r\n\r\n", "BAD"],
  ["\rXGET /a HTTP/1.1\r\n\r\n", "BAD"],
  // A prefix is refused at its first invalid byte.
  ["(", "BAD"],
  ["\r\n(", "BAD"],
  [
    `GET /a HTTP/1.1\r\n${EMPTY_CHUNKED}GET /b HTTP/1.1\r\n${EMPTY_CHUNKED}\r\nGET /c HTTP/1.1\r\n\r\n`,
    "GET /a null",
    "GET /b null",
    "GET /c null",
  ],
  [
    "GET /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "FORBIDDEN_HEADER",
  ],
];

Deno.test("requests one after the other are the same, and so is the first error, however their bytes arrive", () => {
  for (const [text, ...messages] of REQUESTS) {
    for (const parts of divide(text)) {
      assertEquals(readParts(makeRequestReader(), parts), messages, JSON.stringify(text));
    }
  }
});

const interims = (count: number) => "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count);
const FINAL = "HTTP/1.1 204 No Content\r\n\r\n";
const RESPONSES: readonly (readonly [text: string, messages: readonly string[]])[] = [
  [FINAL + FINAL, ["204", "204"]],
  ["HTTP/1.1 100 Continue\r\ncontent-length: 1\r\n\r\n", ["UNEXPECTED_STATUS"]],
  ["HTTP/1.1 101 Switching Protocols\r\n\r\n", ["UNEXPECTED_STATUS"]],
  [interims(32) + FINAL + interims(32) + FINAL, [
    ...Array(32).fill("103"),
    "204",
    ...Array(32).fill("103"),
    "204",
  ]],
  [interims(33), [...Array(32).fill("103"), "UNEXPECTED_STATUS"]],
  // A prefix is refused at its first invalid byte.
  ["X", ["BAD"]],
  ["HTTQ", ["BAD"]],
  ["HTTP/1.1 200 OK\r\na: \n", ["BAD"]],
  ["HTTP/1.1 200 OK\r\na: \rb", ["BAD"]],
  [`${FINAL}HTTP/1.1 200 OK\r\na: \n`, ["204", "BAD"]],
];

Deno.test("responses one after the other are the same, and so is the first error, however their bytes arrive", () => {
  for (const [text, messages] of RESPONSES) {
    for (const parts of text.length > 1000 ? [[encodeLatin1(text)]] : divide(text)) {
      assertEquals(readParts(makeResponseReader(), parts), messages, text.slice(0, 60));
    }
  }
});

Deno.test("a preamble of 32 KiB is read, and a longer one refused, however its bytes arrive", () => {
  for (const excess of [0, 1]) {
    for (const end of ["\r\n", EMPTY_CHUNKED]) {
      const start = "GET / HTTP/1.1\r\na: ";
      const size = MAX_PREAMBLE_BYTES + excess;
      const text = `${start}${"b".repeat(size - start.length - 2 - end.length)}\r\n${end}`;
      const bytes = encodeLatin1(text);
      for (const at of [0, 1, bytes.length - 1]) {
        const first = encodeLatin1("GET / HTTP/1.1\r\n\r\n" + text.slice(0, at));
        const messages = readParts(makeRequestReader(), [first, bytes.subarray(at)]);
        assertEquals(messages.slice(1), [excess === 0 ? "GET / null" : "PREAMBLE_TOO_LARGE"]);
      }
    }
  }
});

/** Messages without their last byte. */
const UNENDED: readonly (readonly [start: string, end: string, makeReader: () => Reader])[] = [
  ["GET / HTTP/1.1\r\na: ", "", makeRequestReader],
  // The bytes of an empty body count as bytes of the preamble.
  ["GET / HTTP/1.1\r\na: ", `\r\n${EMPTY_CHUNKED.slice(0, -1)}`, makeRequestReader],
  ["HTTP/1.1 200 OK\r\na: ", "", makeResponseReader],
];

Deno.test("a preamble without an end is refused with its last allowed byte, and not before", () => {
  for (const [start, end, makeReader] of UNENDED) {
    for (
      const [size, messages] of [[MAX_PREAMBLE_BYTES - 1, []], [MAX_PREAMBLE_BYTES, [
        "PREAMBLE_TOO_LARGE",
      ]]] as const
    ) {
      const bytes = encodeLatin1(start.padEnd(size - end.length, "b") + end);
      assertEquals(readParts(makeReader(), [bytes]), [...messages], `${start}${end}, ${size}`);
    }
  }
});

const HOSTS: readonly (readonly [ServerFacts, uri: string, host: string, isServed: boolean])[] = [
  [{ hosts: "any" }, "/", "example.com", true],
  [{ hosts: "any" }, "/", "", true],
  [{ hosts: null }, "/", "localhost", true],
  [{ hosts: null }, "/", "", true],
  [{ hosts: null }, "/", "example.com", false],
  [{ hosts: null, isEncrypted: true }, "/", "example.com", true],
  [{ hosts: null, address: null }, "/", "example.com", true],
  [{ hosts: new Set(["a.example"]) }, "/", "a.example", true],
  [{ hosts: new Set(["a.example"]) }, "/", "b.example", false],
  [{ hosts: new Set(["a.example"]) }, "/", "", false],
  [{ hosts: new Set(["a.example"]), isEncrypted: true }, "/", "b.example", false],
  [{ hosts: "any" }, "https://example.com/", "example.com", false],
  [{ hosts: "any", isEncrypted: true }, "https://example.com/", "example.com", true],
  [{ hosts: "any" }, "http://example.com/", "example.com", true],
];

Deno.test("a server refuses requests for other hosts, and for https without TLS", () => {
  for (const [facts, uri, host, isServed] of HOSTS) {
    const hostLine = host === "" ? "" : `host: ${host}\r\n`;
    const text = `GET ${uri} HTTP/1.1\r\n${hostLine}\r\n`;
    const [message] = readParts(makeRequestReader(facts), [encodeLatin1(text)]);
    assertEquals(message!, isServed ? "GET / null" : "MISDIRECTED", JSON.stringify([facts, text]));
  }
});
