/**
 * The protocol without sockets: the table of an exchange, and the preambles in every division of
 * their bytes.
 */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { ClientExchange } from "@degu/internal/net/protocol/client_exchange.ts";
import {
  ClientProtocol,
  type LastExchangeReason,
} from "@degu/internal/net/protocol/client_protocol.ts";
import { isTransient } from "@degu/degu";
import type { Method, ProtocolError } from "@degu/degu/base";
import { ReadBuffer } from "@degu/internal/base/body/byte_io.ts";
import { checkResponsePrefix } from "@degu/internal/base/wire/preamble.ts";
import { ExchangeProgress } from "@degu/internal/net/protocol/exchange.ts";
import { INCOMING_TRANSITIONS, OUTGOING_TRANSITIONS } from "@degu/internal/net/protocol/phases.ts";
import { PreambleSearch } from "@degu/internal/net/protocol/preamble_search.ts";
import { RequestReader } from "@degu/internal/net/protocol/request_reader.ts";
import { append } from "./read_buffers.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

type Event = {
  [E in keyof ExchangeProgress]: ExchangeProgress[E] extends () => void ? E : never;
}[keyof ExchangeProgress];

/** The next phase for each event of a phase of the two halves. */
const TABLE: Readonly<Record<string, Readonly<Partial<Record<Event, string>>>>> = {
  ...INCOMING_TRANSITIONS,
  ...OUTGOING_TRANSITIONS,
};
const EVENTS = [...new Set(Object.values(TABLE).flatMap(Object.keys))] as Event[];

function replay(events: readonly Event[]): ExchangeProgress {
  const exchange = new ExchangeProgress();
  for (const event of events) exchange[event]();
  return exchange;
}

/** Every state that events can lead to, with the shortest way to it. */
function findStates(): Map<string, readonly Event[]> {
  const states = new Map<string, readonly Event[]>([["none unsent", []]]);
  for (const path of states.values()) {
    for (const event of EVENTS) {
      const next = [...path, event];
      let exchange;
      try {
        exchange = replay(next);
      } catch {
        continue;
      }
      const state = `${exchange.incoming} ${exchange.outgoing}`;
      if (!states.has(state)) states.set(state, next);
    }
  }
  return states;
}

Deno.test("an exchange is in one of 30 states, and an event that the table doesn't have is a bug", () => {
  const states = findStates();
  assertEquals(states.size, 6 * 5);
  for (const [state, path] of states) {
    const { incoming, outgoing } = replay(path);
    for (const event of EVENTS) {
      const next = TABLE[incoming]![event] ?? TABLE[outgoing]![event];
      if (next === undefined) {
        assertThrows(() => replay([...path, event]), Error, "a bug of Degu", `${state}: ${event}`);
        continue;
      }
      const after = replay([...path, event]);
      const expected = next in INCOMING_TRANSITIONS ? [next, outgoing] : [incoming, next];
      assertEquals([after.incoming, after.outgoing], expected, `${state}: ${event}`);
    }
  }
});

Deno.test("no event leaves the end of a half, except an error that breaks a received message", () => {
  for (const path of findStates().values()) {
    const { incoming, isSendEnded, isRefused } = replay(path);
    for (const event of EVENTS) {
      let after;
      try {
        after = replay([...path, event]);
      } catch {
        continue;
      }
      if (isSendEnded) assert(after.isSendEnded);
      if (isRefused) assert(after.isRefused);
      if (incoming === "ended") assert(["ended", "broken"].includes(after.incoming));
      if (incoming === "broken") assertEquals(after.incoming, "broken");
      if (after.isComplete) assert(after.incoming === "ended" && after.isSendEnded);
    }
  }
});

/** Cuts the bytes into two at each position. */
function* halve(text: string): Generator<readonly [Uint8Array, Uint8Array]> {
  const bytes = encodeLatin1(text);
  for (let at = 0; at <= bytes.length; at++) yield [bytes.subarray(0, at), bytes.subarray(at)];
}

Deno.test("a response's preamble ends at the same byte, however its bytes arrive", () => {
  const preamble = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n";
  for (const [first, second] of halve(`${preamble}a`)) {
    const search = new PreambleSearch(new ReadBuffer(), checkResponsePrefix);
    append(search.buffer, first);
    let end = search.findEnd();
    assertEquals(end, first.length < preamble.length ? -1 : preamble.length);
    assertEquals(search.isAtStart, first.length === 0 || end >= 0);
    if (end < 0 && first.length > 0) {
      assertThrows(() => search.checkEnd(), Error, "within a preamble");
    } else search.checkEnd();
    append(search.buffer, second);
    if (end < 0) end = search.findEnd();
    assertEquals(end, preamble.length);
  }
});

const FRAMINGS: readonly (readonly [text: string, requests: string, rest: string])[] = [
  ["GET /a HTTP/1.1\r\n\r\n", "GET /a null", ""],
  ["\r\nGET /a HTTP/1.1\r\n\r\n", "GET /a null", ""],
  ["PUT /a HTTP/1.1\r\ncontent-length: 2\r\n\r\nxy", "PUT /a 2", "xy"],
  ["PUT /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "PUT /a chunked", "0\r\n\r\n"],
  ["GET /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET", "GET /a null", "GET"],
];

Deno.test("a request is the same, and so are the bytes behind it, however its bytes arrive", () => {
  for (const [text, expected, rest] of FRAMINGS) {
    for (const [first, second] of halve(text)) {
      const reader = new RequestReader(new ReadBuffer(), false, ["127.0.0.1", 1], "any");
      append(reader.buffer, first);
      let request = reader.read();
      append(reader.buffer, second);
      request ??= reader.read();
      const { method, target, framing } = request!;
      assertEquals(`${method} ${target.uri} ${framing}`, expected);
      const { bytes, start, end } = reader.buffer;
      assertEquals(new TextDecoder().decode(bytes.subarray(start, end)), rest);
      assert(reader.isAtStart);
    }
  }
});

const LENGTH = "content-length: 1\r\n";
const CLOSE = "connection: close\r\n";

type ResponseRow = readonly [
  request: string,
  response: string,
  framing: string,
  lastExchangeReason: string | null,
];

const RESPONSES: readonly ResponseRow[] = [
  ["GET", `200 OK|${LENGTH}`, "1", null],
  ["GET", "200 OK|transfer-encoding: chunked\r\n", "chunked", null],
  ["HEAD", `200 OK|${LENGTH}`, "null", null],
  ["HEAD", "200 OK|", "null", null],
  ["GET", "204 No Content|", "null", null],
  ["GET", `304 Not Modified|${LENGTH}`, "null", null],
  ["GET", `200 OK|${LENGTH}${CLOSE}`, "1", "response"],
  ["GET close", `200 OK|${LENGTH}${CLOSE}`, "1", "request"],
  ["GET close", `200 OK|${LENGTH}`, "1", "request"],
  ["GET", "200 OK|", "unframed", "last response"],
  ["GET", `200 OK|${CLOSE}`, "unframed", "last response"],
  ["GET tls", "200 OK|", "UNFRAMED_BODY", null],
  ["GET null", "200 OK|", "null", null],
  ["GET null", "200 OK||a", "UNFRAMED_BODY", null],
  ["GET tls null", "200 OK|", "null", null],
];

Deno.test("each response has its framing, and its reason why no other exchange follows, also after interim responses", () => {
  for (const [request, response, expectedFraming, expectedReason] of RESPONSES) {
    for (const interim of ["", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"]) {
      const [method, ...options] = request.split(" ");
      const [line, headers, rest = ""] = response.split("|");
      const buffer = new ReadBuffer();
      const protocol = new ClientProtocol(
        buffer,
        options.includes("null"),
        options.includes("tls"),
      );
      const exchange = new ClientExchange(method as Method, "/", undefined, false);
      exchange.isLastRequest = options.includes("close");
      protocol.exchange = exchange;
      protocol.beginExchange(exchange);
      exchange.beginWrite();
      exchange.endOutgoing();
      append(buffer, encodeLatin1(`${interim}HTTP/1.1 ${line}\r\n${headers}\r\n${rest}`));
      let preamble = protocol.responses.read(exchange.method)!;
      if (interim !== "") preamble = protocol.responses.read(exchange.method)!;
      protocol.receivePreamble(exchange, preamble);
      let framing;
      try {
        framing = protocol.handOver(exchange, preamble);
      } catch (error) {
        framing = (error as ProtocolError).code;
      }
      const actual = [`${framing}`, protocol.lastExchangeReason];
      assertEquals(actual, [expectedFraming, expectedReason], `${request}: ${response}`);
      assertEquals([protocol.responseCount, protocol.lastStatus], [1, preamble.status]);
      if (framing === "UNFRAMED_BODY") continue;
      assertEquals(exchange.incoming, "body");
      assertEquals(exchange.isLastResponse, response.includes(CLOSE) || framing === "unframed");
      assertEquals(exchange.isUnframedNull, request.includes("null"));
    }
  }
});

Deno.test("the first reason why no other exchange follows counts, unless the server refuses", () => {
  const rows: readonly (readonly LastExchangeReason[])[] = [
    ["single request", "request", "single request"],
    ["request", "response", "request"],
    ["response", "unframed response", "response"],
    ["response", "refused body", "refused body"],
    ["refused connection", "request", "refused connection"],
  ];
  for (const [first, second, expected] of rows) {
    const protocol = new ClientProtocol(new ReadBuffer(), false, false);
    assertEquals(protocol.lastExchangeReason, null);
    protocol.endAfter(first!);
    protocol.endAfter(second!);
    assertEquals(protocol.lastExchangeReason, expected);
  }
});

/**
 * Events, each with the letter of the wait behind it: another letter for each wait, `-` for none.
 * `HT`, `interim` and `final` are received bytes.
 */
const WAITS = [
  "begin -, sent a, H b, T b, final -",
  // One time-out limits all interim responses.
  "begin -, sent a, HT b, interim b, HT b, interim b, HT b, final -",
  // While the request is sent, only a preamble that has begun is a wait.
  "begin -, HT a, interim -, HT b, sent b, interim b, HT b, final -",
  // The first byte of a response after an interim response begins no wait.
  "begin -, HT a, interim -, sent b, HT b, final -",
  "begin -, HT a, final -, stall b, write c, write d, sent -",
  "begin -, sent a, HT b, final -, handOver -, read c, readEnd -, read d, readEnd -, end -, " +
  "begin -, sent e, HT f, final -, handOver -, read g",
];

Deno.test("each wait of a client has another name, and there is none while only the program works", () => {
  for (const row of WAITS) {
    const buffer = new ReadBuffer();
    const protocol = new ClientProtocol(buffer, false, false);
    const letters = new Map<string | null, string>([[null, "-"]]);
    let isReading = false, readCount = 0, writeCount = 0;
    let exchange = new ClientExchange("GET", "/", undefined, false);
    let preamble: ReturnType<typeof protocol.responses.read> = null;
    const receive = (text: string) => {
      append(buffer, encodeLatin1(text));
      while ((preamble = protocol.responses.read("GET")) !== null && preamble.status < 200);
      if (preamble !== null) protocol.receivePreamble(exchange, preamble);
    };
    const events: Record<string, () => void> = {
      begin() {
        protocol.exchange = exchange = new ClientExchange("GET", "/", undefined, false);
        protocol.beginExchange(exchange);
        exchange.beginWrite();
      },
      sent: () => protocol.endSend(exchange),
      interim: () => receive("TP/1.1 100 Continue\r\n\r\n"),
      final: () => receive("TP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
      stall: () => exchange.waitForSend(),
      write: () => writeCount++,
      handOver: () => protocol.handOver(exchange, preamble!),
      read: () => isReading = true,
      readEnd: () => isReading = readCount++ < 0,
      end: () => exchange.endIncoming(),
    };
    const actual = row.split(", ").map((step) => {
      const [event] = step.split(" ");
      if (event! in events) events[event!]!();
      else receive(event!);
      const wait = protocol.findWait(isReading, readCount, writeCount);
      if (!letters.has(wait)) letters.set(wait, "abcdefgh"[letters.size - 1]!);
      return `${event} ${letters.get(wait)}`;
    });
    assertEquals(actual.join(", "), row);
  }
});

Deno.test("the wait for the rest of a request begins with its first byte, behind an empty line", () => {
  for (const line of ["", "\r\n", "\r|\n"]) {
    const reader = new RequestReader(new ReadBuffer(), false, ["127.0.0.1", 1], "any");
    const steps = new Set([reader.step]);
    for (const part of line === "" ? [] : line.split("|")) {
      append(reader.buffer, encodeLatin1(part));
      assertEquals(reader.read(), null);
      steps.add(reader.step);
    }
    append(reader.buffer, encodeLatin1("G"));
    assertEquals(reader.read(), null);
    assert(!steps.has(reader.step), line);
    const { step } = reader;
    append(reader.buffer, encodeLatin1("ET / HT"));
    assertEquals(reader.read(), null);
    assertEquals(reader.step, step);
  }
});

Deno.test("bytes after a response are excess bytes if they begin no other one, and none was read", () => {
  const rows:
    readonly (readonly [responseCount: number, bytes: string, hasExcessBytes: boolean])[] = [
      [0, "x", false],
      [1, "x", true],
      [1, "", false],
      [1, "H", false],
      [1, "HTTP/1.1 2", false],
      [2, "<html>", true],
    ];
  for (const [responseCount, bytes, expected] of rows) {
    const buffer = new ReadBuffer();
    const protocol = new ClientProtocol(buffer, false, false);
    assertEquals([protocol.responseCount, protocol.lastStatus], [0, 0]);
    protocol.responseCount = responseCount;
    const exchange = new ClientExchange("GET", "/", undefined, false);
    append(buffer, encodeLatin1(bytes));
    assertEquals(protocol.hasExcessBytes(exchange), false);
    exchange.expect();
    assertEquals(protocol.hasExcessBytes(exchange), expected, `${responseCount} ${bytes}`);
    exchange.receivePreamble();
    assertEquals(protocol.hasExcessBytes(exchange), false);
  }
});

Deno.test("a client's exchange stalls while its response waits for its request, and calls each listener once", () => {
  const { signal } = new AbortController();
  const exchange = new ClientExchange("GET", "/a", signal, true);
  const { isLastRequest, isLastResponse, isUnframedNull } = exchange;
  assertEquals([isLastRequest, isLastResponse, isUnframedNull], Array(3).fill(false));
  const { method, uri, isFullDuplex } = exchange;
  assertEquals([method, uri, exchange.signal, isFullDuplex], ["GET", "/a", signal, true]);
  assertEquals([exchange.isStalling, exchange.incompleteReason], [false, null]);
  exchange.waitForSend();
  assert(exchange.isStalling);
  const calls: string[] = [];
  const removed = () => calls.push("removed");
  exchange.notifySendEnd();
  exchange.offSendEnd(removed);
  exchange.onSendEnd(() => calls.push("first"));
  exchange.onSendEnd(removed);
  exchange.onSendEnd(() => calls.push("last"));
  exchange.offSendEnd(removed);
  exchange.endOutgoing();
  assert(!exchange.isStalling);
  for (let i = 0; i < 2; i++) exchange.notifySendEnd();
  assertEquals(calls, ["first", "last"]);
  assertEquals(exchange.incompleteReason, null);
  const cutExchange = new ClientExchange("POST", "/a", undefined, false);
  cutExchange.refuseWrites();
  assertEquals(cutExchange.incompleteReason, null);
  cutExchange.waitForSend();
  assertMatch(cutExchange.incompleteReason!, /duplex: "full"/);
});

Deno.test("bytes without a request may be a refusal before the first request, and are an error after it", () => {
  const rows: readonly (readonly [bytes: string, isFresh: boolean, error: string | null])[] = [
    ["", true, "EMPTY_PREAMBLE"],
    ["", false, "EMPTY_PREAMBLE"],
    ["HTTP/1.1 503 Busy\r\n\r\n", true, null],
    ["HTTP/1.1 408 Late\r\n\r\n", false, "EXCESS_BYTES"],
  ];
  for (const [bytes, isFresh, code] of rows) {
    const buffer = new ReadBuffer();
    const protocol = new ClientProtocol(buffer, false, false);
    if (!isFresh) protocol.beginExchange(new ClientExchange("GET", "/", undefined, false));
    append(buffer, encodeLatin1(bytes));
    const error = protocol.findIdleError();
    assertEquals(error?.code ?? null, code);
    assertEquals(protocol.earlyBytes?.length ?? 0, isFresh ? bytes.length : 0);
    if (code !== "EXCESS_BYTES") continue;
    assertMatch(error!.message, /"HTTP\/1.1 408 Late"$/);
    // The bytes are no response to a request, so the request can be sent again.
    assert(isTransient(error));
  }
});
