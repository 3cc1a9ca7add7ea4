/** Receiving preambles: where they end, what is refused before, and which errors break the connection. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { ConnectionClosedError, ProtocolError } from "@degu/degu/base";
import { PreambleReader } from "@degu/internal/net/preamble_reader.ts";
import { Transport } from "@degu/internal/net/transport.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { turnOfEventLoop } from "@degu/testing/raw_peer.ts";
import { type Portions, RecordingSocket } from "@degu/testing/recording_socket.ts";
import { fromLatin1 } from "@degu/testing/wire_grammar.ts";

const MAX_PREAMBLE_BYTES = 32768;

interface Ends {
  readonly socket: RecordingSocket;
  readonly transport: Transport;
  readonly preambles: PreambleReader;
}

function open(portions?: Portions, checkStart?: (first: number) => void): Ends {
  const socket = new RecordingSocket(portions);
  const transport = new Transport(socket, null);
  return { socket, transport, preambles: new PreambleReader(transport, checkStart) };
}

/** Receives the next preamble and moves behind it; `null` if the peer closed before it. */
async function receive({ transport: { reader }, preambles }: Ends): Promise<string | null> {
  let end;
  while ((end = preambles.find()) < 0) {
    if (!preambles.endReceive(await preambles.beginReceive())) return null;
  }
  const text = fromLatin1(reader.bytes.subarray(reader.start, end));
  reader.start = end;
  return text;
}

Deno.test("every preamble is found, however its bytes are split", async () => {
  const line = fc.stringMatching(/^[ -~]{1,20}$/);
  const preamble = fc.array(line, { minLength: 1, maxLength: 4 }).map((lines) =>
    `${lines.join("\r\n")}\r\n\r\n`
  );
  await fc.assert(fc.asyncProperty(
    fc.array(preamble, { minLength: 1, maxLength: 4 }),
    fc.integer({ min: 1, max: 40 }),
    async (sent, perRead) => {
      const ends = open({ perRead });
      ends.socket.give(sent.join(""));
      ends.socket.end();
      for (const text of sent) assertEquals(await receive(ends), text);
      assertEquals(await receive(ends), null);
    },
  ));
});

Deno.test("a peer may close before a preamble, but not inside it", async () => {
  for (const sent of ["", "G", "GET /\r\n\r"]) {
    const ends = open();
    ends.socket.give(sent);
    ends.socket.end();
    if (sent === "") {
      assertEquals(await receive(ends), null);
      continue;
    }
    const error = await rejectionOf(receive(ends), sent);
    assertInstanceOf(error, ProtocolError);
    assertEquals(error.code, "PREAMBLE_INCOMPLETE");
  }
});

Deno.test("a preamble has at most 32768 bytes, even before its end has arrived", async () => {
  const largest = `${"a".repeat(MAX_PREAMBLE_BYTES - 4)}\r\n\r\n`;
  const ends = open();
  ends.socket.give(largest + largest);
  assertEquals(await receive(ends), largest);
  assertEquals(await receive(ends), largest);
  const inTwo = open({ perRead: MAX_PREAMBLE_BYTES - 1 });
  inTwo.socket.give(largest);
  assertEquals(await receive(inTwo), largest);
  for (const sent of [`a${largest}`, "a".repeat(MAX_PREAMBLE_BYTES)]) {
    const other = open();
    other.socket.give(sent);
    const error = await rejectionOf(receive(other), "a large preamble");
    assertInstanceOf(error, ProtocolError);
    assertEquals(error.code, "PREAMBLE_TOO_LARGE");
  }
});

Deno.test("the first byte is checked once, as soon as it arrives, unless the preamble is whole", async () => {
  const checked: number[] = [];
  const ends = open({ perRead: 1 }, (first) => checked.push(first));
  ends.socket.give("GE\r\n\r\n");
  await receive(ends);
  assertEquals(checked, [0x47]);
  const whole = open({}, (first) => checked.push(first));
  whole.socket.give("XY\r\n\r\n");
  await receive(whole);
  assertEquals(checked, [0x47]);
  ends.socket.give("PUT");
  ends.socket.end();
  await assertRejects(() => receive(ends), ProtocolError);
  assertEquals(checked, [0x47, 0x50]);
  const refusal = new Error("no preamble begins like this");
  const refused = open({ perRead: 1 }, () => {
    throw refusal;
  });
  refused.socket.give("\x16\x03");
  assertStrictEquals(await rejectionOf(receive(refused), "another protocol"), refusal);
});

Deno.test("an error of the socket during a preamble breaks the connection", async () => {
  for (const ahead of [false, true]) {
    const failure = new Deno.errors.ConnectionReset("reset");
    const ends = open();
    if (ahead) ends.preambles.readAhead();
    const receiving = rejectionOf(receive(ends), "the preamble");
    ends.socket.fail(failure);
    assertStrictEquals(ends.preambles.failureOf(await receiving), failure);
    assertStrictEquals(ends.transport.failure, failure, `ahead: ${ahead}`);
  }
});

Deno.test("an error after a preamble was received is not attributed to the socket", async () => {
  const ends = open();
  ends.socket.give("GET / HTTP/1.1\r\n\r\n");
  await receive(ends);
  const error = new Error("of the app");
  assertStrictEquals(ends.preambles.failureOf(error), error);
  assertEquals(ends.transport.failure, null);
});

Deno.test("receiving a preamble rejects with the failure of a connection that is closed meanwhile", async () => {
  for (const ahead of [false, true]) {
    const late = Promise.withResolvers<number | null>();
    const { socket } = open();
    const transport = new Transport({
      read: () => late.promise,
      write: (bytes) => socket.write(bytes),
      close: () => socket.close(),
    }, null);
    const preambles = new PreambleReader(transport);
    if (ahead) preambles.readAhead();
    const receiving = preambles.beginReceive();
    transport.close(new Error("closed on purpose"));
    late.resolve(5);
    const count = await receiving;
    const error = assertThrows(() => preambles.endReceive(count), Error, "closed on purpose");
    assertStrictEquals(preambles.failureOf(error), transport.failure);
    assertEquals(transport.reader.buffered, 0);
  }
});

Deno.test("nothing is received after the connection is closed, not even what was read ahead", async () => {
  for (const ahead of [false, true]) {
    const late = Promise.withResolvers<number | null>();
    let reads = 0;
    const transport = new Transport({
      read: () => (reads++, late.promise),
      write: () => Promise.resolve(0),
      close: () => {},
    }, null);
    const preambles = new PreambleReader(transport);
    if (ahead) preambles.readAhead();
    transport.close();
    // A socket may never settle the read: nothing waits for it.
    const error = assertThrows(() => preambles.beginReceive());
    assertInstanceOf(preambles.failureOf(error), ConnectionClosedError);
    assertEquals(reads, ahead ? 1 : 0);
    late.resolve(null);
    await turnOfEventLoop();
  }
});

Deno.test("a read-ahead is used as the next read of a preamble", async () => {
  const ends = open();
  ends.preambles.readAhead();
  assert(!ends.preambles.aheadSettled);
  ends.socket.give("A\r\n\r\n");
  await turnOfEventLoop();
  assert(ends.preambles.aheadSettled);
  assertEquals(await receive(ends), "A\r\n\r\n");
});

Deno.test("settleAhead() leaves the reader empty at the peer's end, and reports a broken connection", async () => {
  const ended = open();
  ended.preambles.readAhead();
  ended.socket.end();
  await ended.preambles.settleAhead();
  assertEquals(ended.transport.reader.buffered, 0);
  const broken = open();
  broken.preambles.readAhead();
  const failure = new Error("broken");
  broken.socket.fail(failure);
  assertStrictEquals(await rejectionOf(broken.preambles.settleAhead(), "settling"), failure);
  assertStrictEquals(broken.transport.failure, failure);
});

Deno.test("a pending read-ahead is awaited, until its bytes or its end", async () => {
  const ends = open();
  ends.preambles.readAhead();
  const receiving = receive(ends);
  ends.socket.give("A\r\n");
  await turnOfEventLoop();
  ends.socket.give("\r\n");
  assertEquals(await receiving, "A\r\n\r\n");
  ends.preambles.readAhead();
  const ended = receive(ends);
  ends.socket.end();
  assertEquals(await ended, null);
});

Deno.test("a preamble has a time limit while it is received, and its arrival is recorded when it is whole", async () => {
  const socket = new RecordingSocket();
  const transport = new Transport(socket, 1000);
  const preambles = new PreambleReader(transport);
  transport.forgetArrival();
  assertEquals(preambles.find(), -1);
  assert(!transport.deadline.isReading);
  const receiving = preambles.beginReceive();
  assert(transport.deadline.isReading);
  socket.give("A\r\n\r\n");
  preambles.endReceive(await receiving);
  assert(transport.deadline.isReading);
  assertEquals(transport.sinceArrival, Infinity);
  assertEquals(preambles.find(), 5);
  assert(!transport.deadline.isReading);
  assert(Math.abs(transport.sinceArrival) < 60_000);
  transport.close();
});
