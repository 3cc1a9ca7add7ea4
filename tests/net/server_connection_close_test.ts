/** Closing a session from an app, at every moment of it. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import { BodyIter, ChunkedBodyIter, ConnectionClosedError } from "@degu/degu/base";
import { type App, Session } from "@degu/degu/server";
import { api } from "@degu/internal/base/app/app.ts";
import { ServerConnection } from "@degu/internal/net/server_connection.ts";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer, within } from "@degu/testing/raw_peer.ts";
import { RecordingSocket } from "@degu/testing/recording_socket.ts";
import { RecordingLogger, serve, type Serving } from "@degu/testing/serving.ts";

/** Why a session is closed. */
const reason = new Error("revoked");

/** The one session of a server, once there is one. */
async function onlySession({ server }: Serving): Promise<Session> {
  const found = async () => {
    while (server.sessions.size === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  await within(found(), "a session");
  const [session] = server.sessions;
  return session!;
}

/** Asserts that nothing is left of a session that was closed with a reason, and that no error was logged. */
function assertClosed(serving: Serving, session: Session, why: unknown = reason): void {
  assert(session.signal.aborted);
  assertStrictEquals(session.signal.reason, why);
  assertEquals(serving.server.sessions.has(session), false);
  assert(session.message?.startsWith("closed by the app"), `${session.message}`);
  assertEquals(serving.logger.at("error"), []);
  assertEquals(serving.logger.at("info"), []);
  assertEquals(serving.logger.at("debug"), [`${session}: ${session.message}`]);
}

/** Resolves when the store of the session is disposed of: the session is then over. */
function disposed(session: Session): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  session.store.set("disposed", { [Symbol.dispose]: resolve });
  return within(promise, "the store is disposed of");
}

const get = "GET / HTTP/1.1\r\n\r\n";

const ok = () => [200, "OK", {}, null] as const;

for (const returned of [true, false]) {
  Deno.test(`a session that is closed in onConnect, which returns ${returned}, is refused`, async () => {
    const sessions: Session[] = [];
    let over = Promise.resolve();
    let handled = 0;
    await using serving = serve({
      onConnect(session) {
        sessions.push(session);
        over = disposed(session);
        assertEquals([...serving.server.sessions], []);
        session.close(reason);
        return returned;
      },
      handle() {
        handled++;
        return [200, "OK", {}, null];
      },
    });
    using peer = await RawPeer.connect(serving.address);
    await peer.send(get);
    await peer.assertClosedSilently();
    await over;
    assertEquals(handled, 0);
    assertClosed(serving, sessions[0]!);
  });
}

Deno.test("a session that is closed while onConnect is pending ends at once", async () => {
  const connecting = Promise.withResolvers<Session>();
  const deciding = Promise.withResolvers<boolean>();
  await using serving = serve({
    onConnect(session) {
      connecting.resolve(session);
      return deciding.promise;
    },
    handle: ok,
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(get);
  const session = await within(connecting.promise, "onConnect is called");
  session.close(reason);
  await peer.assertClosedSilently();
  assertClosed(serving, session);
  const over = disposed(session);
  deciding.resolve(true);
  await over;
  assertClosed(serving, session);
});

Deno.test("an onConnect that rejects because its session was closed is not reported as an error", async () => {
  const sessions: Session[] = [];
  let over = Promise.resolve();
  await using serving = serve({
    async onConnect(session) {
      sessions.push(session);
      over = disposed(session);
      await null;
      session.close(reason);
      session.signal.throwIfAborted();
      return true;
    },
    handle: ok,
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.assertClosedSilently();
  await over;
  assertClosed(serving, sessions[0]!);
});

const beginnings: Readonly<Record<string, string>> = {
  "before a request": "",
  "inside a preamble": "GET / HTTP/1.1\r\nx: ",
  "between two requests": get,
};

for (const [when, sent] of Object.entries(beginnings)) {
  Deno.test(`a session can be closed ${when}`, async () => {
    await using serving = serve(ok);
    using peer = await RawPeer.connect(serving.address);
    await peer.send(sent);
    if (sent === get) await peer.readPreamble();
    const session = await onlySession(serving);
    const over = disposed(session);
    session.close(reason);
    assertClosed(serving, session);
    await over;
    await peer.assertClosedSilently();
    assertClosed(serving, session);
  });
}

Deno.test("closing a session after its last response has no effect, and the response is received", async () => {
  const sessions: Session[] = [];
  await using serving = serve((_request, session) => {
    sessions.push(session);
    // Whoever ends the session as soon as that is over must not take the response with it.
    session.signal.addEventListener("abort", () => session.close(reason));
    return [413, "Content Too Large", {}, new Uint8Array(1000)];
  });
  using peer = await RawPeer.connect(serving.address);
  // What is unread when a socket is closed makes the kernel send a reset, which outruns the response.
  await peer.send(`PUT / HTTP/1.1\r\ncontent-length: 300000\r\n\r\n${"x".repeat(200_000)}`);
  await peer.readPreamble();
  const { received, how } = await peer.readToEnd();
  assertEquals([received.length, how], [1000, "end"]);
  const [session] = sessions;
  assertEquals([...serving.server.sessions], []);
  const { message, signal } = session!;
  assertEquals(message, "the body of a request was left unread (status 413)");
  const ended = signal.reason;
  assertInstanceOf(ended, ConnectionClosedError);
  session!.close(reason);
  assertEquals(session!.message, message);
  assertStrictEquals(signal.reason, ended);
  assertEquals(serving.logger.lines, [["debug", `${session}: ended after ${message}`]]);
});

Deno.test("closing a session that has ended, or closing again, has no effect", async () => {
  const sessions: Session[] = [];
  await using serving = serve((_request, session) => {
    sessions.push(session);
    return [200, "OK", {}, null];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(get);
  await peer.readPreamble();
  let over = disposed(sessions[0]!);
  peer.close();
  await over;
  const [first] = sessions;
  const { message } = first!;
  const left = first!.signal.reason;
  first!.close(reason);
  assertEquals(first!.message, message);
  assertStrictEquals(first!.signal.reason, left);
  assertEquals(serving.logger.lines.length, 1);

  using another = await RawPeer.connect(serving.address);
  const second = await onlySession(serving);
  over = disposed(second);
  second.close(reason);
  second.close(new Error("another reason"));
  await over;
  assertStrictEquals(second.signal.reason, reason);
  assertEquals(serving.logger.lines.length, 2);
  await another.assertClosedSilently();
});

Deno.test("without a reason pending operations reject with a ConnectionClosedError", async () => {
  for (const given of [undefined, null]) {
    const begun = Promise.withResolvers<Session>();
    const failed = Promise.withResolvers<unknown>();
    await using serving = serve(async ({ body }, session) => {
      begun.resolve(session);
      failed.resolve(await rejectionOf(body!.bytes(), "the read"));
      return [400, "Bad Request", {}, null];
    });
    using peer = await RawPeer.connect(serving.address);
    await peer.send("PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\n");
    const session = await within(begun.promise, "the app is called");
    session.close(given);
    const error = await within(failed.promise, "the read fails");
    assertInstanceOf(error, ConnectionClosedError);
    assertStrictEquals(session.signal.reason, error);
    await peer.assertClosedSilently();
  }
});

Deno.test("a reason may be any value, even one that can't be converted to text", async () => {
  const reasons: unknown[] = ["text", 0, false, Symbol("reason"), { toString: null }];
  for (const given of reasons) {
    await using serving = serve(ok);
    using peer = await RawPeer.connect(serving.address);
    const session = await onlySession(serving);
    session.close(given);
    assertClosed(serving, session, given);
    await peer.assertClosedSilently();
  }
});

Deno.test("a listener of its signal can close a session", async () => {
  const ended = Promise.withResolvers<void>();
  await using serving = serve(async ({ body }, session) => {
    const over = disposed(session);
    session.signal.addEventListener("abort", () => session.close(reason));
    void over.then(ended.resolve);
    await body?.bytes();
    await new Promise((resolve) => session.signal.addEventListener("abort", resolve));
    return [200, "OK", {}, null];
  });
  using leaving = await RawPeer.connect(serving.address);
  await leaving.send(get);
  const session = await onlySession(serving);
  await leaving.closeWrite();
  await leaving.assertClosedSilently();
  await within(ended.promise, "the session ends");
  assertInstanceOf(session.signal.reason, ConnectionClosedError);
  assert(session.message?.endsWith("Error: revoked"), `${session.message}`);
});

Deno.test("a closed session releases its slot, even if its app never returns", async () => {
  const sessions: Session[] = [];
  await using serving = serve((_request, session) => {
    sessions.push(session);
    return sessions.length === 1 ? new Promise(() => {}) : [200, "OK", {}, null];
  }, { maxConnections: 1 });
  using first = await RawPeer.connect(serving.address);
  await first.send(get);
  const session = await onlySession(serving);
  using second = await RawPeer.connect(serving.address);
  await second.send(get);
  session.close(reason);
  assertEquals(await second.readPreamble(), "HTTP/1.1 200 OK\r\n\r\n");
  await first.assertClosedSilently();
});

const reading: Readonly<Record<string, (body: NonNullable<Body>) => Promise<unknown>>> = {
  "bytes": (body) => body.bytes(),
  "read": (body) => body.read(),
  "iterating": (body) => Array.fromAsync(body as AsyncIterable<unknown>),
  "a stream": (body) => Array.fromAsync(body.readable),
  "writeTo": (body) => body.writeTo({ write: () => Promise.resolve() }),
};

type Body = Parameters<Extract<App, (...args: never[]) => unknown>>[0]["body"];

const bodies = {
  "a Body": "content-length: 10\r\n\r\nhello",
  "a ChunkedBody": "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
};

for (const [what, start] of Object.entries(bodies)) {
  for (const [how, read] of Object.entries(reading)) {
    Deno.test(`reading ${what} by ${how} rejects with the reason`, async () => {
      const begun = Promise.withResolvers<Session>();
      const failed = Promise.withResolvers<unknown>();
      await using serving = serve(async ({ body }, session) => {
        begun.resolve(session);
        failed.resolve(await rejectionOf(read(body!), "the read"));
        return [400, "Bad Request", {}, null];
      });
      using peer = await RawPeer.connect(serving.address);
      await peer.send(`PUT / HTTP/1.1\r\n${start}`);
      const session = await within(begun.promise, "the app is called");
      const over = disposed(session);
      session.close(reason);
      assertStrictEquals(await within(failed.promise, "the read fails"), reason);
      await over;
      await peer.assertClosedSilently();
      assertClosed(serving, session);
    });
  }
}

for (const [what, start] of Object.entries(bodies)) {
  for (const how of ["iterating", "writeTo", "a stream"]) {
    Deno.test(`a session can be closed while ${what} is read by ${how}`, async () => {
      const failed = Promise.withResolvers<unknown>();
      const sessions: Session[] = [];
      await using serving = serve(async ({ body }, session) => {
        sessions.push(session);
        const take = async () => {
          if (how === "writeTo") {
            await body!.writeTo({ write: () => Promise.resolve(session.close(reason)) });
          } else {
            const pieces: AsyncIterable<unknown> = how === "iterating" ? body! : body!.readable;
            for await (const _ of pieces) session.close(reason);
          }
        };
        failed.resolve(await rejectionOf(take(), "the read"));
        return [400, "Bad Request", {}, null];
      });
      using peer = await RawPeer.connect(serving.address);
      await peer.send(`PUT / HTTP/1.1\r\n${start}`);
      assertStrictEquals(await within(failed.promise, "the read fails"), reason);
      await peer.assertClosedSilently();
      assertClosed(serving, sessions[0]!);
    });
  }
}

Deno.test("nothing is sent of an answer that an app returns after its session was closed", async () => {
  const sessions: Session[] = [];
  const answers = [[200, "OK", {}, null], [200, "OK", {}, new Uint8Array(200_000)]] as const;
  for (const answer of answers) {
    let over = Promise.resolve();
    await using serving = serve(async (_request, session) => {
      sessions.push(session);
      over = disposed(session);
      await null;
      session.close(reason);
      return answer;
    });
    using peer = await RawPeer.connect(serving.address);
    await peer.send(get + get);
    await peer.assertClosedSilently();
    await over;
    assertClosed(serving, sessions.at(-1)!);
  }
  assertEquals(sessions.length, 2);
});

Deno.test("the body of an answer that comes too late is canceled", async () => {
  const returned = Promise.withResolvers<void>();
  const sessions: Session[] = [];
  async function* pieces() {
    try {
      yield new Uint8Array(5);
    } finally {
      await null;
      returned.resolve();
    }
  }
  const iterator = pieces();
  await iterator.next();
  await using serving = serve((_request, session) => {
    sessions.push(session);
    session.close(reason);
    return [200, "OK", {}, new BodyIter(iterator, 5)];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(get);
  await within(returned.promise, "the generator returns");
  await peer.assertClosedSilently();
  assertClosed(serving, sessions[0]!);
});

for (const kind of ["BodyIter", "ChunkedBodyIter"]) {
  Deno.test(`a session can be closed while a ${kind} that waits is its response`, async () => {
    const ended = Promise.withResolvers<void>();
    async function* pieces() {
      try {
        yield new TextEncoder().encode("hello");
        await new Promise(() => {});
      } finally {
        ended.resolve();
      }
    }
    async function* chunks() {
      for await (const piece of pieces()) yield [null, piece] as const;
    }
    let over = Promise.resolve();
    await using serving = serve((_request, session) => {
      over = disposed(session);
      const body = kind === "BodyIter"
        ? new BodyIter(pieces(), 10)
        : new ChunkedBodyIter(chunks() as AsyncIterable<[null, Uint8Array]>);
      return [200, "OK", {}, body];
    });
    using peer = await RawPeer.connect(serving.address);
    await peer.send(get);
    await peer.readUntil("hello");
    const session = await onlySession(serving);
    session.close(reason);
    await over;
    const rest = kind === "BodyIter" ? "" : "\r\n";
    assertEquals((await peer.readToEnd()).received, rest);
    assertClosed(serving, session);
  });
}

Deno.test("a session can be closed by the body of its response", async () => {
  let over = Promise.resolve();
  let finished = false;
  const sessions: Session[] = [];
  await using serving = serve((_request, session) => {
    sessions.push(session);
    over = disposed(session);
    function* pieces() {
      try {
        yield new TextEncoder().encode("hello");
        session.close(reason);
        yield new TextEncoder().encode("world");
      } finally {
        finished = true;
      }
    }
    return [200, "OK", {}, new BodyIter(pieces(), 10)];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(get);
  await over;
  const { received } = await peer.readToEnd();
  assert(!received.includes("world"), received);
  assert(finished);
  assertClosed(serving, sessions[0]!);
});

Deno.test("a session can be closed while its peer does not read the response", async () => {
  let over = Promise.resolve();
  let taken = 0;
  function* pieces() {
    for (;;) {
      taken++;
      yield new Uint8Array(1_000_000);
    }
  }
  await using serving = serve((_request, session) => {
    over = disposed(session);
    return [200, "OK", {}, new BodyIter(pieces(), 1e12)];
  });
  using peer = await RawPeer.connect(serving.address);
  await peer.send(get);
  const session = await onlySession(serving);
  const blocked = async () => {
    for (let before = -1; before !== taken || taken === 0;) {
      before = taken;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  await within(blocked(), "the response is held up");
  session.close(reason);
  await over;
  assertClosed(serving, session);
});

Deno.test("closing a session at any moment of an answer is reported once", async () => {
  for (let turn = 0; turn < 40; turn++) {
    const socket = new RecordingSocket();
    const logger = new RecordingLogger();
    const session = new Session("name", null, 10);
    const context = {
      handle: () => {
        const closing = async () => {
          for (let i = 0; i < turn; i++) await null;
          session.close(reason);
        };
        void closing();
        return ok();
      },
      onConnect: null,
      api,
      timeout: null,
      logger,
      sessions: new Set<Session>(),
      watchExchange: null,
      stopping: false,
    };
    const connection = new ServerConnection(context, socket, session, () => true);
    socket.give(get);
    await within(connection.serve(), "the connection ends");
    for (let i = 0; i < 40; i++) await null;
    const message = "closed by the app: Error: revoked";
    assertEquals(logger.lines, [["debug", `name: ${message}`]], `${turn} turns later`);
    assertEquals([session.message, socket.closings], [message, 1]);
    assertStrictEquals(session.signal.reason, reason);
  }
});
