/**
 * The states of connections: late events have no effect, and events that a table doesn't name are
 * reported.
 */
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { bodies, Body, type HeadersToSend } from "@degu/degu/base";
import type { Connection } from "@degu/degu/client";
import type { AppFunction, Logger } from "@degu/degu/server";
import {
  CLIENT_TRANSITIONS,
  invalidTransitionError,
  SERVER_TRANSITIONS,
} from "@degu/internal/net/connection_states.ts";
import { makePendingPromise } from "@degu/testing/aborts.ts";
import { connect } from "@degu/testing/connected.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { connectRawPeer, makeServerConnection, type ServedRawPeer } from "@degu/testing/serving.ts";

const GET = "GET / HTTP/1.1\r\n\r\n";
const PUT = "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";

/** Returns the message for an invalid event. */
function formatBug(event: string, state: string): string {
  return `${invalidTransitionError(event, state)}`;
}

/** Removes an event from a table until disposed of, so that the event becomes invalid. */
function removeEvent(table: object, state: string, event: string): Disposable {
  const row = Reflect.get(table, state);
  const next = Reflect.get(row, event);
  assert(next !== undefined, `${state} names no ${event}`);
  Reflect.deleteProperty(row, event);
  return { [Symbol.dispose]: () => void Reflect.set(row, event, next) };
}

/** Makes a logger that collects the lines of level error. */
function makeErrorLogger() {
  const errors: string[] = [];
  const errorLogged = Promise.withResolvers<void>();
  const drop = () => {};
  const error = (line: string) => {
    errors.push(line);
    errorLogged.resolve();
  };
  const logger: Logger = { debug: drop, info: drop, warn: drop, error };
  return { errors, heard: errorLogged.promise, logger };
}

const readAll: AppFunction = async ({ body }) => {
  await body?.bytes();
  return [200, "OK", {}, null];
};

Deno.test("server: an event that a state doesn't name ends the connection, and is logged as an error", async (t) => {
  const rows: [state: string, event: string, sent: string][] = [
    ["idle", "receiveRequest", GET],
    ["idle", "receiveRequestWithBody", PUT],
    ["bodyUnread", "finishBody", PUT],
    ["responding", "finishResponse", GET],
    ["idle", "closeByClient", GET],
  ];
  await testEachRow(t, rows, async (state, event, sent) => {
    using _ = removeEvent(SERVER_TRANSITIONS, state, event);
    const { errors, heard: errorLogged, logger } = makeErrorLogger();
    let calls = 0;
    const app: AppFunction = (...args) => (calls++, readAll(...args));
    await using pair = await connectRawPeer(app, sent, { logger });
    const { session, peer } = pair;
    if (event === "closeByClient") {
      await peer.readPreamble();
      await peer.closeWrite();
    }
    await withTimeout(errorLogged, "an error is logged");
    await pair.sessionEnded;
    assertEquals(errors.length, 1);
    const bug = formatBug(event, state);
    assert(errors[0]!.startsWith(`${session}: ${bug}\n    at `), errors[0]);
    assertEquals(session.message, bug);
    assertEquals(`${session.signal.reason}`, session.message);
    assertEquals(pair.serving.server.sessions.size, 0);
    // The app is not called for a request that is invalid in this state.
    assertEquals(calls, event.startsWith("receiveRequest") ? 0 : 1);
    await peer.readToEnd();
  });
});

Deno.test("server: an impossible event frees the slot at once, though the app never returns", async () => {
  using _ = removeEvent(SERVER_TRANSITIONS, "bodyUnread", "finishBody");
  const socket = new RecordingSocket();
  const app: AppFunction = async ({ body }) => {
    await body!.bytes().catch(() => {});
    return makePendingPromise();
  };
  const { errors, logger } = makeErrorLogger();
  const { connection, session } = makeServerConnection(socket, app, logger);
  void connection.serve();
  socket.receive(PUT);
  await withTimeout(connection.slotFreed, "the slot is free");
  assertEquals(session.message, formatBug("finishBody", "bodyUnread"));
  assertEquals([errors.length, socket.closeCount], [1, 1]);
});

Deno.test("client: an event that a state doesn't name closes the connection, and rejects the call", async (t) => {
  const rows: [state: string, event: string, headers?: HeadersToSend][] = [
    ["idle", "sendRequest"],
    ["requesting", "rollback", { "BAD": "" }],
    ["requesting", "receivePreamble"],
    ["responding", "returnResponse"],
    ["bodyUnread", "finishBody"],
  ];
  await testEachRow(t, rows, async (state, event, headers = {}) => {
    using pair = await connect();
    using _ = removeEvent(CLIENT_TRANSITIONS, state, event);
    const call = async () => await (await pair.conn.get("/", headers)).body!.bytes();
    const callError = catchRejection(call(), "the call");
    if (state !== "idle" && event !== "rollback") {
      await pair.peer.respond("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    }
    assertEquals(`${await callError}`, formatBug(event, state));
    assertEquals(pair.conn.closed, true);
    assertEquals((await pair.peer.readToEnd()).received, "");
  });
});

// Late events, which the tables name.

/** Makes a sink whose writes wait until it is released. */
function makeSlowSink() {
  const writeStarted = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const write = () => (writeStarted.resolve(), released.promise);
  return { write, begun: writeStarted.promise, release: released.resolve };
}

Deno.test("server: a body may end after its connection was closed, if a slow sink still writes its last bytes", async (t) => {
  const rows: [label: string, close: (pair: ServedRawPeer) => void, message: string][] = [
    ["by the app", ({ session }) => session.close(), "closed by the app"],
    ["by the server", ({ serving }) => serving.server.close(), "closed by the server"],
  ];
  await testEachRow(t, rows, async (_label, close, message) => {
    const sink = makeSlowSink();
    const writing = Promise.withResolvers<number>();
    await using pair = await connectRawPeer(async ({ body }) => {
      const count = body!.writeTo(sink);
      writing.resolve(count);
      await count;
      return [200, "OK", {}, null];
    }, PUT);
    await sink.begun;
    close(pair);
    sink.release();
    assertEquals(await withTimeout(writing.promise, "the body is written"), 5);
    await pair.sessionEnded;
    assertEquals(pair.session.message?.startsWith(message), true, `${pair.session.message}`);
    assertEquals(pair.logger.messagesOf("error"), []);
    assertEquals((await pair.peer.readToEnd()).received, "");
  });
});

Deno.test("client: a call rejects with the error of a body's constructor, also if the constructor has used the body", async (t) => {
  const bodyError = new Error("no body");
  const sink = makeSlowSink();
  let conn: Connection;
  let next: Promise<unknown> | null = null;
  let writing: Promise<number> | null = null;
  const rows: [label: string, use: (body: Body) => void][] = [
    ["reads the whole body", (body) => void body.bytes()],
    ["makes the next request", (body) => {
      void body.bytes();
      next = catchRejection(conn.get("/"), "the next request");
    }],
    ["has a slow sink that takes the last bytes", (body) => writing = body.writeTo(sink)],
  ];
  await testEachRow(t, rows, async (_label, use) => {
    class OwnBody extends Body {
      constructor(...args: ConstructorParameters<typeof Body>) {
        super(...args);
        use(this);
        throw bodyError;
      }
    }
    using pair = await connect({ bodies: { ...bodies, Body: OwnBody } });
    conn = pair.conn;
    const response = pair.answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    assertStrictEquals(await catchRejection(response, "the request"), bodyError);
    assertEquals(conn.closed, true);
  });
  assertStrictEquals(await withTimeout(next!, "the next request rejects"), bodyError);
  sink.release();
  assertEquals(await withTimeout(writing!, "the body is written"), 5);
});
