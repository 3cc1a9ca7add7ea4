/**
 * Sessions that are closed at any moment: while a request is awaited, read, processed or answered, from
 * outside and from within a read.
 *
 * @module
 */

import type { App } from "@degu/internal/base/app/app.ts";
import type { BodyIn, BodyOut } from "@degu/internal/base/body/bodies.ts";
import { BodyIter, ChunkedBodyIter } from "@degu/degu";
import type { Session } from "@degu/degu/server";
import { caseOf, type CutBody, cutBody, isRefused } from "./cancelled.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import { MemoryServer } from "./memory_server.ts";
import { MemorySocket } from "./memory_socket.ts";
import { receive } from "./received.ts";

const reason = new Error("closed");

/** One connection, and what has become of it. */
class Run {
  readonly disposed = Promise.withResolvers<void>();
  readonly failures: unknown[] = [];
  session: Session | null = null;
  /** What had been written when the session was closed; `null` where it had ended before. */
  written: string | null = null;
  calls = 0;
  #due = false;

  constructor(readonly each: CutBody, readonly socket: MemorySocket) {}

  /** What is taken of the body decides, rather than the time. */
  get fromInside(): boolean {
    return this.each.turns % 3 === 0;
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
      if (this.fromInside && body !== null) await this.#readAndClose(body);
      else await receive(body, this.each.way);
    } catch (error) {
      this.failures.push(error);
    }
  }

  async #readAndClose(body: NonNullable<BodyIn>): Promise<void> {
    let left = this.each.turns % 7;
    const taken = () => {
      if (left-- === 0) this.close();
    };
    if (this.each.way === "writeTo") {
      await body.writeTo({ write: () => Promise.resolve(taken()) });
      return;
    }
    const pieces: AsyncIterable<unknown> = this.each.way === "iterate" ? body : body.readable;
    for await (const _ of pieces) taken();
  }

  makeBody(): BodyOut {
    const kind = this.each.turns % 4;
    if (kind === 0) return null;
    if (kind === 1) return new Uint8Array(100);
    if (kind === 2) return new BodyIter(this.#pieces(), 100);
    return new ChunkedBodyIter(this.#chunks());
  }

  async *#pieces(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < 4; i++) {
      if (this.fromInside && i === 2) this.close();
      else await null;
      yield new Uint8Array(25);
    }
  }

  async *#chunks(): AsyncGenerator<readonly [null, Uint8Array]> {
    for await (const piece of this.#pieces()) yield [null, piece];
    yield [null, new Uint8Array(0)];
  }
}

/** Sessions that are closed. */
export function closedSessions(): Fuzzer {
  let run: Run;
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
  const serving = server.serveForever();
  return {
    name: "closed-session",
    grammar: cutBody,
    async check(input): Promise<Outcome> {
      const each = caseOf(input, "PUT / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n\r\n");
      const socket = new MemorySocket(each.pieces);
      run = new Run(each, socket);
      server.memory.offer(socket);
      if (!run.fromInside) {
        for (let turn = 0; turn < each.turns * 2; turn++) await null;
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
    async close() {
      server.close();
      await serving;
    },
  };
}
