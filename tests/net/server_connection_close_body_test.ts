/** Closing a session while a body is being read or written. */
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { BodyIter, ChunkedBodyIter } from "@degu/degu/base";
import type { App, Session } from "@degu/degu/server";
import { rejectionOf } from "@degu/testing/expectations.ts";
import { RawPeer, within } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";
import { assertClosed, disposed, onlySession, reason } from "@degu/testing/closed_sessions.ts";

const get = "GET / HTTP/1.1\r\n\r\n";

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
