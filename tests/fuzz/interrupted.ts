/**
 * Bodies that are canceled at any moment while a client or a server reads them, and sessions that
 * are closed at any moment.
 */

import type { App } from "@degu/internal/base/app/app.ts";
import { BodyError } from "@degu/internal/base/errors.ts";
import { Connection } from "@degu/degu/client";
import type { Body, BodyIn, ChunkedBody } from "@degu/internal/base/body/body.ts";
import type { BodyOut } from "@degu/internal/base/body/sent_body.ts";
import { BodyIter, ChunkedBodyIter } from "@degu/degu";
import type { Session } from "@degu/degu/server";
import { cutBytes } from "../support/streams.ts";
import { encodeLatin1 } from "../support/wire_grammar.ts";
import { demand, type Fuzzer, isPeerError, type Outcome } from "./fuzzer.ts";
import { AnsweringSocket, MemoryServer, MemorySocket } from "./memory.ts";
import type { Random } from "./random.ts";
import { receive, WAYS } from "./received.ts";

const MAX_MICROTASKS = 60;

/**
 * The pieces of a message, the way to read its body, and the microtasks before the interruption.
 */
type CutBody = ReturnType<typeof parseCase>;

/** Parses a case: `c` or `l` for the framing, and the numbers `way microtasks pieceLength size…`. */
function parseCase(input: string, start: string, after: string) {
  const numbers = Array.from(input.matchAll(/\d+/g), ([digits]) => Number(digits) % 1000);
  const [way = 0, microtasks = 0, pieceLength = 7, ...sizes] = numbers;
  const chunked = input.startsWith("c");
  const content = chunked
    ? [...sizes.filter((size) => size > 0), 0]
      .map((size) => `${size.toString(16)}\r\n${"x".repeat(size)}\r\n`).join("")
    : "x".repeat(sizes.reduce((sum, size) => sum + size, 0));
  const framing = chunked ? "transfer-encoding: chunked" : `content-length: ${content.length}`;
  const bytes = encodeLatin1(`${start}${framing}\r\n\r\n${content}${after}`);
  return {
    pieces: cutBytes(bytes, pieceLength + 1),
    microtasks: microtasks % MAX_MICROTASKS,
    way: WAYS[way % WAYS.length]!,
  };
}

/** Makes a text that {@linkcode parseCase} reads. */
function makeCaseText(random: Random): string {
  const sizes = Array.from({ length: random.below(6) }, () => random.below(300));
  const numbers = [
    random.below(WAYS.length),
    random.below(MAX_MICROTASKS),
    random.below(200),
    ...sizes,
  ];
  return random.pick(["c", "l"]) + numbers.join(" ");
}

/** Reads a body, cancels it during the read, and requires the result of either. */
async function cancelDuringRead(
  body: Body | ChunkedBody,
  { way, microtasks }: CutBody,
): Promise<"read" | "cancelled"> {
  const reason = new Error("cancelled");
  const reading = receive(body, way).then(() => null, (error: unknown) => ({ error }));
  for (let microtask = 0; microtask < microtasks; microtask++) await null;
  await body.cancel(reason);
  const failure = await reading;
  if (failure === null) return "read";
  // A read that began after the cancellation has the reason as its cause.
  const { error } = failure;
  demand(error === reason || isRefused(error, reason), `the read rejected with ${error}`);
  const after = await body.read().then(() => null, (laterError: unknown) => laterError);
  demand(isRefused(after, reason), `the next read rejected with ${after}`);
  return "cancelled";
}

/** Whether a body has refused an operation because it was canceled with the reason. */
function isRefused(error: unknown, reason: unknown): boolean {
  return error instanceof BodyError && error.cause === reason;
}

async function checkClient(input: string): Promise<boolean> {
  const cutBodyCase = parseCase(input, "HTTP/1.1 200 OK\r\n", "");
  const socket = new AnsweringSocket([cutBodyCase.pieces]);
  using connection = new Connection(socket, null, undefined, null);
  const { body } = await connection.get("/");
  // A response of 0 bytes has a null body.
  if (body === null) return true;
  const outcome = await cancelDuringRead(body, cutBodyCase);
  demand(
    connection.closed === (outcome === "cancelled"),
    `${outcome}, closed: ${connection.closed}`,
  );
  return outcome === "read";
}

const ANSWER = "HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n";
/** The response to a request whose body was not read to its end. */
const LAST_ANSWER = "HTTP/1.1 409 Conflict\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

export function makeCancelledBodies(): Fuzzer {
  let outcomes: ("read" | "cancelled")[] = [];
  let current: CutBody | null = null;
  let objection: unknown = null;
  const app: App = async ({ body }) => {
    try {
      if (body !== null) outcomes.push(await cancelDuringRead(body, current!));
      else outcomes.push("read");
    } catch (error) {
      objection ??= error;
    }
    return [409, "Conflict", {}, null];
  };
  const server = new MemoryServer(app);
  return {
    name: "cancelled-body",
    grammar: makeCaseText,
    async check(input): Promise<Outcome> {
      outcomes = [];
      objection = null;
      current = parseCase(input, "PUT / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n\r\n");
      const socket = new MemorySocket(current.pieces);
      await server.connect(socket);
      if (objection !== null && !isPeerError(objection)) throw objection;
      const wasRead = outcomes[0] === "read";
      demand(outcomes.length === (wasRead ? 2 : 1), `${outcomes.length} requests: ${outcomes}`);
      const expected = wasRead ? ANSWER.repeat(2) : LAST_ANSWER;
      demand(socket.written === expected, `answered ${socket.written}`);
      const clientWasRead = await checkClient(input);
      return wasRead && clientWasRead ? "accepted" : "rejected";
    },
    close: () => server.end(),
  };
}

const reason = new Error("closed");

/** A connection, and its end. */
class SessionRun {
  readonly disposed = Promise.withResolvers<void>();
  readonly failures: unknown[] = [];
  session: Session | null = null;
  /**
   * The bytes that were written when the session was closed; `null` if the session had ended
   * before.
   */
  written: string | null = null;
  calls = 0;
  #due = false;

  constructor(readonly cutBodyCase: CutBody, readonly socket: MemorySocket) {}

  /**
   * Whether the session is closed after a number of pieces of the body, not after a number of
   * microtasks.
   */
  get closesInside(): boolean {
    return this.cutBodyCase.microtasks % 3 === 0;
  }

  begin(session: Session): void {
    this.session = session;
    session.store.set("end", { [Symbol.dispose]: () => this.disposed.resolve() });
    if (this.#due) this.close();
  }

  close(): void {
    this.#due = true;
    if (this.session === null) return;
    if (this.session.message === null) this.written = this.socket.written;
    this.calls = 0;
    this.session.close(reason);
    this.session.close(new Error("again"));
  }

  async read(body: BodyIn): Promise<void> {
    this.calls++;
    try {
      if (this.closesInside && body !== null) await this.#readAndClose(body);
      else await receive(body, this.cutBodyCase.way);
    } catch (error) {
      this.failures.push(error);
    }
  }

  async #readAndClose(body: NonNullable<BodyIn>): Promise<void> {
    let remainingPieces = this.cutBodyCase.microtasks % 7;
    const countPiece = () => {
      if (remainingPieces-- === 0) this.close();
    };
    if (this.cutBodyCase.way === "writeTo") {
      await body.writeTo({ write: () => Promise.resolve(countPiece()) });
      return;
    }
    const pieces: AsyncIterable<unknown> = this.cutBodyCase.way === "iterate"
      ? body
      : body.readable;
    for await (const _ of pieces) countPiece();
  }

  makeBody(): BodyOut {
    const kind = this.cutBodyCase.microtasks % 4;
    if (kind === 0) return null;
    if (kind === 1) return new Uint8Array(100);
    if (kind === 2) return new BodyIter(this.#pieces(), 100);
    return new ChunkedBodyIter(this.#chunks());
  }

  async *#pieces(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < 4; i++) {
      if (this.closesInside && i === 2) this.close();
      else await null;
      yield new Uint8Array(25);
    }
  }

  async *#chunks(): AsyncGenerator<readonly [null, Uint8Array]> {
    for await (const piece of this.#pieces()) yield [null, piece];
    yield [null, new Uint8Array(0)];
  }
}

export function makeClosedSessions(): Fuzzer {
  let run: SessionRun;
  const app: App = {
    onConnect(session) {
      run.begin(session);
      return true;
    },
    async handle({ body }) {
      await run.read(body);
      return [run.failures.length === 0 ? 200 : 409, "OK", {}, run.makeBody() as null];
    },
  };
  const server = new MemoryServer(app);
  return {
    name: "closed-session",
    grammar: makeCaseText,
    async check(input): Promise<Outcome> {
      const cutBodyCase = parseCase(input, "PUT / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n\r\n");
      const socket = new MemorySocket(cutBodyCase.pieces);
      run = new SessionRun(cutBodyCase, socket);
      server.connect(socket);
      if (!run.closesInside) {
        for (let microtask = 0; microtask < cutBodyCase.microtasks * 2; microtask++) await null;
        run.close();
      }
      await run.disposed.promise;
      const { session, written, failures, calls } = run;
      const { message, signal } = session!;
      demand(socket.isClosed && server.sessions.size === 0, "the session goes on");
      demand(signal.aborted && message !== null, "the signal is not aborted");
      for (const error of failures) {
        demand(error === reason || isRefused(error, reason), `a read rejected with ${error}`);
      }
      const closed = message.startsWith("closed by the app");
      demand((written !== null) === closed, `closed, and ended: ${message}`);
      demand((signal.reason === reason) === closed, `${message}, and the signal: ${signal.reason}`);
      if (!closed) return "rejected";
      demand(calls === 0, "the app was called for a session that was closed");
      demand(socket.written === written, `after it was closed was written ${socket.written}`);
      return "accepted";
    },
    close: () => server.end(),
  };
}
