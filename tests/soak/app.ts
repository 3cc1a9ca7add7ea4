/**
 * The app under load: it checks its requests, generates what is requested, and fails in every way on
 * request.
 *
 * @module
 */

import {
  type App,
  type BodyIn,
  BodyIter,
  type BodyOut,
  ChunkedBodyIter,
  type Request,
  type ResponseTuple,
} from "@degu/degu";
import { Checksum, checksumOf, chunks, type Payload, pieces, whole } from "./payload.ts";

/** What the application has seen that must not be. */
export interface Ledger {
  requests: number;
  bytes: number;
  readonly mismatches: string[];
}

/** How a fault of the application looks to the client: it fails, or it gets this status. */
export const serverFaults: Readonly<Record<string, number | null>> = {
  "throws": null,
  "throws-inside": null,
  "too-short": null,
  "too-long": null,
  "nonsense": null,
  "bad-header": null,
  "unread": null,
  "refuses-unread": 413,
  "cancels-unread": 409,
  "cancels-its-answer": null,
  "slow": 200,
};

/** Reads a body and says what its checksum is. */
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
    if (request.path[0] === "fault") return await fail(request, request.path[1] ?? "");
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

async function fail(request: Request, kind: string): Promise<ResponseTuple> {
  switch (kind) {
    case "throws":
      throw new Planned("before the body");
    case "throws-inside":
      return [200, "OK", {}, new BodyIter(failing(), 200000)];
    case "too-short":
      return [200, "OK", {}, new BodyIter([new Uint8Array(10)], 20)];
    case "too-long":
      return [200, "OK", {}, new BodyIter([new Uint8Array(70000)], 69999)];
    case "nonsense":
      return { status: 200 } as unknown as ResponseTuple;
    case "bad-header":
      return [200, "OK", { "x": "a\r\nb" }, null];
    case "unread":
      return [200, "OK", {}, null];
    case "refuses-unread":
      return [413, "Content Too Large", {}, null];
    case "cancels-unread":
      return await cancelWhileReading(request.body);
    case "cancels-its-answer":
      return [200, "OK", {}, cancelSoon(new BodyIter(endless(), 5_000_000))];
    case "collects": {
      const bytes = await request.body?.bytes();
      return [200, "OK", {}, new TextEncoder().encode(`${bytes?.length}`)];
    }
    default:
      await checksumOfBody(request.body);
      await new Promise((resolve) => setTimeout(resolve, 50));
      return [200, "OK", {}, null];
  }
}
