/** Closing a session by an app, at every moment. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import { type BodyIn, BodyIter, ChunkedBodyIter, ConnectionClosedError } from "@degu/degu/base";
import type { AppFunction, ResponseTuple, Session } from "@degu/degu/server";
import { makePendingPromise } from "@degu/testing/aborts.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { RawPeer, waitForTick, withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { connectRawPeer, makeServerConnection, type ServedRawPeer } from "@degu/testing/serving.ts";
import { encodeLatin1 } from "@degu/testing/wire_grammar.ts";

const reason = new Error("revoked");
const get = "GET / HTTP/1.1\r\n\r\n";
const ok: ResponseTuple = [200, "OK", {}, null];

/** Asserts that a session has ended with a reason, and that no error was logged. */
function assertClosed(
  { serving, session, logger }: ServedRawPeer,
  expectedReason: unknown = reason,
): void {
  assertStrictEquals(session.signal.reason, expectedReason);
  assertEquals(serving.server.sessions.has(session), false);
  assert(session.message?.startsWith("closed by the app"), `${session.message}`);
  assertEquals(logger.lines, [["debug", `${session}: ${session.message}`]]);
}

/** A moment at which a session is closed: by the app, or from outside once `until` has resolved. */
interface Moment {
  readonly when: string;
  /** The bytes that the peer sends; a GET by default. */
  readonly sent?: string;
  readonly onConnect?: (session: Session, released: Promise<boolean>) => boolean | Promise<boolean>;
  readonly handle?: AppFunction;
  /** The app's operation on the request's body, which must reject with the reason. */
  readonly read?: (body: NonNullable<BodyIn>, session: Session) => Promise<unknown>;
  readonly until?: (pair: ServedRawPeer) => unknown;
  /** The bytes that the peer receives after that. */
  readonly received?: string;
}

const bodies = {
  "a Body": "PUT / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhello",
  "a ChunkedBody": "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
};

async function* makeHalves(onEnd: () => void = () => {}) {
  try {
    yield encodeLatin1("hello");
    await makePendingPromise();
  } finally {
    await null;
    onEnd();
  }
}

async function* makeChunks(pieces: AsyncIterable<Uint8Array>) {
  for await (const piece of pieces) yield [null, piece] as const;
}

const moments: readonly Moment[] = [
  ...[true, false].map((returned): Moment => ({
    when: `in onConnect, which returns ${returned}`,
    onConnect: (session) => (session.close(reason), returned),
  })),
  {
    when: "while onConnect is pending",
    onConnect: (_, released) => released,
    until: waitForTick,
  },
  { when: "before a request", sent: "", until: waitForTick },
  { when: "inside a preamble", sent: "GET / HTTP/1.1\r\nx: ", until: waitForTick },
  { when: "between two requests", until: ({ peer }) => peer.readPreamble() },
  {
    when: "while a body is read",
    sent: bodies["a Body"],
    read: (body) => body.bytes(),
    until: ({ appCalled }) => appCalled,
  },
  {
    when: "by the reader of a chunked stream",
    sent: bodies["a ChunkedBody"],
    read: async (body, session) => {
      for await (const _ of body.readable) session.close(reason);
    },
  },
  {
    when: "before the app answers",
    sent: get + get,
    handle: async (_request, session) => {
      await null;
      session.close(reason);
      return [200, "OK", {}, new Uint8Array(200_000)];
    },
  },
  {
    when: "while its response waits",
    handle: () => [200, "OK", {}, new BodyIter(makeHalves(), 10)],
    until: ({ peer }) => peer.readUntil("hello"),
  },
  {
    when: "while its response waits for a chunk",
    handle: () => [200, "OK", {}, new ChunkedBodyIter(makeChunks(makeHalves()))],
    until: ({ peer }) => peer.readUntil("hello"),
    received: "\r\n",
  },
];

for (const { when, sent = get, onConnect, handle, read, until, received = "" } of moments) {
  Deno.test(`a session can be closed ${when}`, async () => {
    const released = Promise.withResolvers<boolean>();
    const bodyError = Promise.withResolvers<unknown>();
    await using pair = await connectRawPeer({
      handle: handle ?? (async ({ body }, session) => {
        if (read !== undefined) {
          bodyError.resolve(await catchRejection(read(body!, session), "the read"));
        }
        return ok;
      }),
      onConnect: (session) => onConnect?.(session, released.promise) ?? true,
    }, sent);
    const { session, peer } = pair;
    if (until !== undefined) {
      await until(pair);
      session.close(reason);
      assertClosed(pair);
    }
    if (read !== undefined) {
      assertStrictEquals(await withTimeout(bodyError.promise, "the promise rejects"), reason);
    }
    assertEquals((await peer.readToEnd()).received, received);
    released.resolve(true);
    await pair.sessionEnded;
    assertClosed(pair);
  });
}

Deno.test("the body of a response that an app returns too late is canceled", async () => {
  const returned = Promise.withResolvers<void>();
  const iterator = makeHalves(returned.resolve);
  await iterator.next();
  await using pair = await connectRawPeer((_request, session) => {
    session.close(reason);
    return [200, "OK", {}, new BodyIter(iterator, 5)];
  }, get);
  await withTimeout(returned.promise, "the generator returns");
  await pair.peer.assertClosedSilently();
  assertClosed(pair);
});

Deno.test("closing a session after its last response has no effect, and the response is received", async () => {
  await using pair = await connectRawPeer(
    (_request, session) => {
      // Closing the session right after the body has ended must not discard the response.
      session.signal.addEventListener("abort", () => session.close(reason));
      return [413, "Content Too Large", {}, new Uint8Array(1000)];
    },
    // Closing a socket with unread bytes makes the kernel send a reset, which overtakes the
    // response.
    `PUT / HTTP/1.1\r\ncontent-length: 300000\r\n\r\n${"x".repeat(200_000)}`,
  );
  const { peer, session, serving } = pair;
  await peer.readPreamble();
  const { received, kind: ending } = await peer.readToEnd();
  assertEquals([received.length, ending, serving.server.sessions.size], [1000, "end", 0]);
  const { message, signal } = session;
  assertEquals(message, "the body of a request was left unread (status 413)");
  const endReason = signal.reason;
  assertInstanceOf(endReason, ConnectionClosedError);
  session.close(reason);
  assertEquals(session.message, message);
  assertStrictEquals(signal.reason, endReason);
  assertEquals(serving.logger.lines, [["info", `${session}: ended after ${message}`]]);
});

Deno.test("closing a session that has ended, or closing again, has no effect", async () => {
  const endings: readonly ((pair: ServedRawPeer) => void)[] = [
    ({ peer }) => peer.close(),
    ({ serving }) => serving.server.close(),
  ];
  for (const end of endings) {
    await using endedPair = await connectRawPeer(() => ok, get);
    await endedPair.peer.readPreamble();
    end(endedPair);
    await endedPair.sessionEnded;
    const { message, signal } = endedPair.session;
    const endReason = signal.reason;
    endedPair.session.close(reason);
    assertEquals([endedPair.session.message, endedPair.logger.lines.length], [message, 1]);
    assertStrictEquals(signal.reason, endReason);
  }

  await using closed = await connectRawPeer(() => ok);
  closed.session.close(reason);
  closed.session.close(new Error("another reason"));
  await closed.sessionEnded;
  assertClosed(closed);
});

Deno.test("a reason may be any value, and without one it is a ConnectionClosedError", async () => {
  for (const value of ["text", 0, false, Symbol("reason"), { toString: null }, undefined, null]) {
    const bodyError = Promise.withResolvers<unknown>();
    await using pair = await connectRawPeer(async ({ body }) => {
      bodyError.resolve(await catchRejection(body!.bytes(), "the read"));
      return [400, "Bad Request", {}, null];
    }, bodies["a Body"]);
    await pair.appCalled;
    pair.session.close(value);
    const error = await withTimeout(bodyError.promise, "the read fails");
    if (value === undefined || value === null) assertInstanceOf(error, ConnectionClosedError);
    assertClosed(pair, value ?? error);
    await pair.peer.assertClosedSilently();
  }
});

Deno.test("a closed session releases its slot, even if its app never returns", async () => {
  let callCount = 0;
  await using first = await connectRawPeer(
    () => ++callCount === 1 ? makePendingPromise() : ok,
    get,
    { maxConnections: 1 },
  );
  using second = await RawPeer.connect(first.serving.address, get);
  await first.appCalled;
  first.session.close(reason);
  assertEquals(await second.readPreamble(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  await first.peer.assertClosedSilently();
});

Deno.test("closing a session at any moment of a response is reported once", async () => {
  for (let microtasks = 0; microtasks < 40; microtasks++) {
    const socket = new RecordingSocket();
    const { connection, logger, session } = makeServerConnection(socket, (_request, session) => {
      (async () => {
        for (let i = 0; i < microtasks; i++) await null;
        session.close(reason);
      })();
      return ok;
    });
    socket.receive(get);
    connection.serve();
    await withTimeout(connection.slotFreed, "the connection ends");
    for (let i = 0; i < 40; i++) await null;
    const message = "closed by the app: Error: revoked";
    assertEquals(logger.lines, [["debug", `name: ${message}`]], `${microtasks} turns later`);
    assertEquals([session.message, socket.closeCount], [message, 1]);
    assertStrictEquals(session.signal.reason, reason);
  }
});
