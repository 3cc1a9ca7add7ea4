/**
 * The app under load: it checks its requests, generates the requested content, and fails in every
 * way on request.
 */

import { crc32 } from "node:zlib";
import {
  type App,
  type BodyIn,
  BodyIter,
  type BodyOut,
  ChunkedBodyIter,
  type ResponseTuple,
} from "@degu/degu";
import type { Chunk } from "@degu/degu/base";
import { concat } from "../support/streams.ts";

// Bytes derived from a number, so that client and server can detect loss, change and duplication.

/** The content of a body: `size` bytes, generated from `seed`. */
export interface Payload {
  readonly seed: number;
  readonly size: number;
}

const BLOCK = 65536;

/** Yields the bytes, in pieces of uneven lengths. */
export function* makePieces({ seed, size }: Payload): Generator<Uint8Array<ArrayBuffer>> {
  let state = seed | 0;
  for (let sentBytes = 0; sentBytes < size;) {
    const words = new Uint32Array(1 + (state >>> 3) % (BLOCK / 4));
    for (let i = 0; i < words.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      words[i] = state;
    }
    const piece = new Uint8Array(words.buffer).subarray(0, size - sentBytes);
    sentBytes += piece.length;
    yield piece;
  }
}

/** Yields the bytes as chunks, some with an extension, and the empty chunk. */
export function* makeChunks(payload: Payload): Generator<Chunk> {
  let index = 0;
  for (const piece of makePieces(payload)) {
    yield [index % 3 === 0 ? ["index", String(index)] : null, piece];
    index++;
  }
  yield [["end", "yes"], new Uint8Array()];
}

export function makeBytes(payload: Payload): Uint8Array {
  return concat(makePieces(payload));
}

/** A checksum that is updated with each piece. */
export class Checksum {
  #value = 0;
  size = 0;

  add(piece: Uint8Array): void {
    this.#value = crc32(piece, this.#value);
    this.size += piece.length;
  }

  toString(): string {
    return `${this.size}-${this.#value.toString(16)}`;
  }
}

export function checksumOf(payload: Payload): string {
  const checksum = new Checksum();
  for (const piece of makePieces(payload)) checksum.add(piece);
  return String(checksum);
}

export async function checksumOfBody(body: BodyIn): Promise<string> {
  const checksum = new Checksum();
  if (body?.chunked) { for await (const [, data] of body) checksum.add(data); }
  else if (body !== null) { for await (const piece of body) checksum.add(piece); }
  return String(checksum);
}

/** Makes the body of a response, of the kind that the query requests. */
function makeBody(kind: string | null, payload: Payload): BodyOut {
  if (kind === "chunked") return new ChunkedBodyIter(makeChunks(payload));
  if (kind === "iter") return new BodyIter(makePieces(payload), payload.size);
  return payload.size === 0 ? null : makeBytes(payload);
}

/** Makes the app, which records other bytes than announced in `mismatches`. */
export function makeApp(mismatches: string[]): App {
  return async (request) => {
    const [kind, fault = ""] = request.path;
    if (kind === "fault") return await (serverFaults[fault]?.[1] ?? collect)(request.body);
    const query = new URLSearchParams(request.query ?? "");
    const payload = { seed: Number(query.get("seed")), size: Number(query.get("size")) };
    const received = await checksumOfBody(request.body);
    const { checksum } = request.headers;
    if (checksum !== received) {
      mismatches.push(`${request.method} ${request.uri}: ${received} for ${checksum}`);
    }
    const headers = { checksum: checksumOf(payload) };
    return [200, "OK", headers, makeBody(query.get("kind"), payload)];
  };
}

class PlannedError extends Error {
  override readonly name = "Planned";
}

function* makeFailingPieces(): Generator<Uint8Array> {
  yield new Uint8Array(70000);
  throw new PlannedError("inside the body");
}

/** Cancels a body during a read, which must reject with the reason. */
async function cancelWhileReading(body: BodyIn): Promise<ResponseTuple> {
  const reason = new PlannedError("cancelled");
  const reading = body?.read().then(() => null, (error: unknown) => error);
  await body?.cancel(reason);
  const outcome = await reading;
  if (outcome !== undefined && outcome !== null && outcome !== reason) throw outcome;
  return [409, "Conflict", {}, null];
}

async function* makeEndlessPieces(): AsyncGenerator<Uint8Array> {
  for (;;) {
    yield new Uint8Array(1000);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function cancelSoon(body: BodyIter): BodyIter {
  setTimeout(() => body.cancel(new PlannedError("no answer after all")), 5);
  return body;
}

/** The faults of the app, and their effect for the client: an error, or this status. */
export const serverFaults: Readonly<
  Record<string, readonly [status: number | null, answer: (body: BodyIn) => Answer]>
> = {
  "throws": [500, () => Promise.reject(new PlannedError("before the body"))],
  "throws-inside": [null, () => [200, "OK", {}, new BodyIter(makeFailingPieces(), 200000)]],
  "too-short": [null, () => [200, "OK", {}, new BodyIter([new Uint8Array(10)], 20)]],
  "too-long": [null, () => [200, "OK", {}, new BodyIter([new Uint8Array(70000)], 69999)]],
  "nonsense": [500, () => ({ status: 200 }) as unknown as ResponseTuple],
  "bad-header": [500, () => [200, "OK", { "x": "a\r\nb" }, null]],
  "unread": [200, () => [200, "OK", {}, null]],
  "refuses-unread": [413, () => [413, "Content Too Large", {}, null]],
  "cancels-unread": [409, cancelWhileReading],
  "cancels-its-answer": [
    null,
    () => [200, "OK", {}, cancelSoon(new BodyIter(makeEndlessPieces(), 5_000_000))],
  ],
  "slow": [200, answerSlowly],
};

type Answer = ResponseTuple | Promise<ResponseTuple>;

async function answerSlowly(body: BodyIn): Promise<ResponseTuple> {
  await checksumOfBody(body);
  await new Promise((resolve) => setTimeout(resolve, 50));
  return [200, "OK", {}, null];
}

async function collect(body: BodyIn): Promise<ResponseTuple> {
  const bytes = await body?.bytes();
  return [200, "OK", {}, new TextEncoder().encode(`${bytes?.length}`)];
}
