/**
 * Bodies of careless code, which writes without waiting, and changes arrays while they are sent.
 * The peer must always get the announced message, or a prefix of it and then the end.
 */

import { BodyIter, ChunkedBodyIter } from "@degu/internal/base/body/body.ts";
import type { BodyOut } from "@degu/internal/base/body/sent_body.ts";
import type { Chunk } from "@degu/internal/base/wire/chunk.ts";
import { BodyError } from "@degu/internal/base/errors.ts";
import type { Socket } from "@degu/internal/base/app/app.ts";
import { Connection } from "@degu/degu/client";
import { decodeLatin1, encodeLatin1 } from "../support/wire_grammar.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import type { Random } from "./random.ts";

/** The bytes inside and behind a sent array. The peer must not receive other bytes. */
const FILLING = "x", BEHIND = "y";
const ANSWER = "HTTP/1.1 204 No Content\r\n\r\n";

/**
 * The sizes of the arrays: sent in one write with the preamble, after it, and larger than the
 * buffers.
 */
const SIZES: readonly number[] = [1, 5, 1000, 70_000, 140_000];

/** A slow socket: it reads the bytes of a write only after a pause. */
class SlowSocket implements Socket {
  received = "";
  readonly #isWhole: (received: string) => boolean;
  readonly #portion: number;
  readonly #ended = Promise.withResolvers<void>();
  #answered = false;
  #isClosed = false;

  constructor(portion: number, isWhole: (received: string) => boolean) {
    this.#portion = portion;
    this.#isWhole = isWhole;
  }

  async read(into: Uint8Array): Promise<number | null> {
    if (this.#answered) return null;
    await this.#ended.promise;
    if (this.#isClosed) throw new Deno.errors.BadResource("closed");
    this.#answered = true;
    into.set(encodeLatin1(ANSWER));
    return ANSWER.length;
  }

  async write(bytes: Uint8Array): Promise<number> {
    const count = Math.min(this.#portion, bytes.length);
    for (let microtask = 0; microtask < 3; microtask++) await null;
    if (this.#isClosed) throw new Deno.errors.BadResource("closed");
    if (bytes.length < count) throw new Error("Bad address (os error 14)");
    this.received += decodeLatin1(bytes.subarray(0, count));
    if (this.#isWhole(this.received)) this.#ended.resolve();
    return count;
  }

  close(): void {
    this.#isClosed = true;
    this.#ended.resolve();
  }
}

/** Makes an array, and a function that changes it after it was passed. */
function makeArray(kind: string, size: number): { bytes: Uint8Array; change(): void } {
  const buffer = new ArrayBuffer(size, { maxByteLength: size + 100 });
  const bytes = new Uint8Array(buffer).fill(FILLING.charCodeAt(0));
  if (kind === "t") return { bytes, change: () => void buffer.transfer() };
  if (kind === "s") return { bytes, change: () => buffer.resize(size >> 1) };
  const grow = () => {
    buffer.resize(size + 100);
    bytes.fill(BEHIND.charCodeAt(0), size);
  };
  return { bytes, change: kind === "g" ? grow : () => {} };
}

/** A write: the change of its array, and the array's size. */
type Step = ReturnType<typeof parseSteps>[number];

function parseSteps(script: string) {
  return Array.from(script.matchAll(/([wtgs])([0-4])(l?)/g), ([, kind, size, isLate]) => ({
    kind: kind!,
    size: SIZES[Number(size)]!,
    late: isLate === "l",
  }));
}

/** Changes an array some microtasks later: before, while or after its bytes are written. */
async function changeSoon(
  { late: isLate }: Step,
  minMicrotasks: number,
  change: () => void,
): Promise<void> {
  for (let microtask = 0; microtask < minMicrotasks + (isLate ? 4 : 0); microtask++) await null;
  change();
}

function* makeArrays(steps: readonly Step[]): Generator<Uint8Array> {
  for (const step of steps) {
    const { bytes, change } = makeArray(step.kind, step.size);
    // Bytes that were changed before the length was read were never announced.
    changeSoon(step, 5, change);
    yield bytes;
  }
}

function* makeChunks(steps: readonly Step[]): Generator<Chunk> {
  for (const bytes of makeArrays(steps)) yield [null, bytes];
  yield [null, new Uint8Array(0)];
}

/** Makes the body of a script, and the message body that it announces. */
function makeBody(input: string, steps: readonly Step[]): { body: BodyOut; announced: string } {
  const total = steps.reduce((sum, { size }) => sum + size, 0);
  const announced = FILLING.repeat(total);
  if (input.startsWith("C")) {
    const encoded = steps.map(({ size }) => `${size.toString(16)}\r\n${FILLING.repeat(size)}\r\n`);
    return {
      body: new ChunkedBodyIter(makeChunks(steps)),
      announced: `${encoded.join("")}0\r\n\r\n`,
    };
  }
  if (input.startsWith("A") && steps[0] !== undefined) {
    const { bytes, change } = makeArray(steps[0].kind, steps[0].size);
    changeSoon(steps[0], 1, change);
    return { body: bytes, announced: FILLING.repeat(steps[0].size) };
  }
  return { body: new BodyIter(makeArrays(steps), total), announced };
}

/** A fuzzer of bodies of all kinds whose arrays change. */
export const carelessSenders: Fuzzer = {
  name: "careless-sender",
  grammar(random: Random): string {
    let script = random.pick(["C", "I", "A"]);
    for (let n = random.below(5); n >= 0; n--) {
      const kind = random.chance(70) ? "w" : random.pick(["t", "g", "s"]);
      script += kind + random.below(SIZES.length);
      if (random.chance(50)) script += "l";
    }
    return script;
  },
  async check(input): Promise<Outcome> {
    const steps = parseSteps(input);
    const { body, announced } = makeBody(input, steps);
    const bodyOf = (received: string) => received.slice(received.indexOf("\r\n\r\n") + 4);
    const portion = input.length % 3 === 0 ? 50_000 : Infinity;
    const socket = new SlowSocket(
      portion,
      (received) => received.includes("\r\n\r\n") && bodyOf(received) === announced,
    );
    using connection = new Connection(socket, null, undefined, null);
    let error: unknown = null;
    try {
      await connection.put("/", {}, body);
    } catch (thrown) {
      error = thrown;
    }
    const sent = socket.received.includes("\r\n\r\n") ? bodyOf(socket.received) : "";
    demand(announced.startsWith(sent), `${sent.length} bytes, which were not announced`);
    if (error === null) {
      demand(sent === announced, `answered after ${sent.length} of ${announced.length} bytes`);
      return "accepted";
    }
    demand(error instanceof BodyError, `rejected with ${error}`);
    demand(connection.closed, "the connection is still open");
    return "rejected";
  },
};
