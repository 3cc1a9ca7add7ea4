/**
 * The app under load: it checks its requests, generates what is requested, and fails in every way on
 * request.
 */

import {
  type App,
  type BodyIn,
  BodyIter,
  type BodyOut,
  ChunkedBodyIter,
  type ResponseTuple,
} from "@degu/degu";
import { Checksum, checksumOf, chunks, type Payload, pieces, whole } from "./payload.ts";

/** What the application has seen that must not be. */
export interface Ledger {
  requests: number;
  bytes: number;
  readonly mismatches: string[];
}

export async function checksumOfBody(body: BodyIn): Promise<string> {
  const checksum = new Checksum();
  if (body?.chunked) { for await (const [, data] of body) checksum.add(data); }
  else if (body !== null) { for await (const piece of body) checksum.add(piece); }
  return String(checksum);
}

/** The body of a response, of the kind that the query asks for. */
function makeBody(kind: string | null, payload: Payload): BodyOut {
  if (kind === "chunked") return new ChunkedBodyIter(chunks(payload));
  if (kind === "iter") return new BodyIter(pieces(payload), payload.size);
  return payload.size === 0 ? null : whole(payload);
}

/** Makes the application; what it sees is written down. */
export function makeApp(ledger: Ledger): App {
  return async (request) => {
    const [kind, fault = ""] = request.path;
    if (kind === "fault") return await (serverFaults[fault]?.[1] ?? collect)(request.body);
    const query = new URLSearchParams(request.query ?? "");
    const payload = { seed: Number(query.get("seed")), size: Number(query.get("size")) };
    const received = await checksumOfBody(request.body);
    ledger.requests++;
    ledger.bytes += Number(received.split("-")[0]) + payload.size;
    const { checksum } = request.headers;
    if (checksum !== received) {
      ledger.mismatches.push(`${request.method} ${request.uri}: ${received} for ${checksum}`);
    }
    const headers = { checksum: checksumOf(payload) };
    if (request.method === "HEAD") return [200, "OK", headers, null];
    return [200, "OK", headers, makeBody(query.get("kind"), payload)];
  };
}

class Planned extends Error {
  override readonly name = "Planned";
}

function* failing(): Generator<Uint8Array> {
  yield new Uint8Array(70000);
  throw new Planned("inside the body");
}

/** Cancels a body that is being read: what reads it has to hear that, and nothing else. */
async function cancelWhileReading(body: BodyIn): Promise<ResponseTuple> {
  const reason = new Planned("cancelled");
  const reading = body?.read().then(() => null, (error: unknown) => error);
  await body?.cancel(reason);
  const outcome = await reading;
  if (outcome !== undefined && outcome !== null && outcome !== reason) throw outcome;
  return [409, "Conflict", {}, null];
}

async function* endless(): AsyncGenerator<Uint8Array> {
  for (;;) {
    yield new Uint8Array(1000);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function cancelSoon(body: BodyIter): BodyIter {
  setTimeout(() => body.cancel(new Planned("no answer after all")), 5);
  return body;
}

/** What goes wrong in the application, and how it looks to the client: it fails, or it gets this status. */
export const serverFaults: Readonly<
  Record<string, readonly [status: number | null, answer: (body: BodyIn) => Answer]>
> = {
  "throws": [null, () => Promise.reject(new Planned("before the body"))],
  "throws-inside": [null, () => [200, "OK", {}, new BodyIter(failing(), 200000)]],
  "too-short": [null, () => [200, "OK", {}, new BodyIter([new Uint8Array(10)], 20)]],
  "too-long": [null, () => [200, "OK", {}, new BodyIter([new Uint8Array(70000)], 69999)]],
  "nonsense": [null, () => ({ status: 200 }) as unknown as ResponseTuple],
  "bad-header": [null, () => [200, "OK", { "x": "a\r\nb" }, null]],
  "unread": [null, () => [200, "OK", {}, null]],
  "refuses-unread": [413, () => [413, "Content Too Large", {}, null]],
  "cancels-unread": [409, cancelWhileReading],
  "cancels-its-answer": [
    null,
    () => [200, "OK", {}, cancelSoon(new BodyIter(endless(), 5_000_000))],
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
