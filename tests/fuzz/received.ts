/** Converts messages that the library has received to the types of the model. */

import type { Body, BodyIn } from "@degu/internal/base/body/body.ts";
import type { Response } from "@degu/degu/base";
import type { HeadersToSend } from "@degu/internal/base/wire/headers.ts";
import { RecordingSink } from "../support/streams.ts";
import { decodeLatin1, type FlatHeaders } from "../support/wire_grammar.ts";
import { type ModelBody, readChunks } from "./oracle.ts";

/** Returns the headers with ranges as text. */
export function flatten(headers: HeadersToSend): FlatHeaders {
  const flat: FlatHeaders = Object.create(null);
  for (const [name, value] of Object.entries(headers)) {
    flat[name] = typeof value === "number" || Array.isArray(value) ? value : String(value);
  }
  return flat;
}

/** The ways to read a body. */
export const WAYS = ["read", "pieces", "iterate", "readable", "writeTo"] as const;

export type Way = typeof WAYS[number];

/** The maximum number of bytes of a read without a size. */
const MAX_READ_BYTES = 16777216;

/**
 * Reads a body to its end; `null` for a null body. Returns chunks if the way of reading has chunks.
 */
export async function receive(body: BodyIn, way: Way): Promise<ModelBody> {
  if (body === null) return null;
  if (body.chunked) {
    if (way === "iterate" || way === "pieces") {
      const chunks = [];
      if (way === "iterate") { for await (const chunk of body) chunks.push(chunk); }
      else do chunks.push(await body.readChunk()); while (chunks.at(-1)![1].length > 0);
      return chunks.map(([extension, data]) => [extension, decodeLatin1(data)]);
    }
    if (way === "read") return decodeLatin1(await body.read());
    if (way === "readable") return await collect(body.readable);
    return await readWithWriteTo(body);
  }
  if (way === "read" && body.contentLength > MAX_READ_BYTES) {
    await refuseToCollect(body);
    return await receive(body, "pieces");
  }
  if (way === "pieces") {
    let text = "";
    for (;;) {
      const piece = await body.read(7);
      text += decodeLatin1(piece);
      if (piece.length < 7) return text;
    }
  }
  if (way === "read") return decodeLatin1(await body.read());
  if (way === "writeTo") return await readWithWriteTo(body);
  return await collect(way === "readable" ? body.readable : body);
}

/**
 * Reads the body of a response to its end. A body that ends with the connection is returned as its
 * bytes, because its chunks depend on the pieces in which it arrived.
 */
export async function receiveOfResponse(body: BodyIn, way: Way): Promise<ModelBody> {
  const received = await receive(body, way);
  if (!body?.chunked || !body.endsWithConnection) return received;
  const chunks = way === "writeTo" && typeof received === "string"
    ? readChunks(received, 0)?.chunks
    : received;
  if (typeof chunks === "string") return chunks;
  const hasOwnForm = chunks?.every(([extension, data], i) =>
    extension === null && (data === "") === (i === chunks.length - 1)
  );
  if (!hasOwnForm) throw new Error(`an invalid body: ${JSON.stringify(received)}`);
  return chunks!.map(([, data]) => data).join("");
}

/** Returns all parts of a response. */
export async function receiveResponse({ status, reason, headers, body }: Response) {
  const content = await receiveOfResponse(body, "iterate");
  return { status, reason, headers: flatten(headers), body: content };
}

/** Asserts that one read refuses to collect a body of this size, and leaves the body unused. */
async function refuseToCollect(body: Body): Promise<void> {
  try {
    await body.read();
  } catch (error) {
    if (error instanceof RangeError) return;
    throw error;
  }
  throw new Error(`one read has collected ${body.contentLength} bytes`);
}

async function collect(pieces: AsyncIterable<Uint8Array>): Promise<string> {
  let text = "";
  for await (const piece of pieces) text += decodeLatin1(piece);
  return text;
}

async function readWithWriteTo(body: NonNullable<BodyIn>): Promise<string> {
  const sink = new RecordingSink();
  await body.writeTo(sink);
  return decodeLatin1(sink.bytes);
}

/** Returns the pieces of a body of the model for a way of reading. */
export function convertForWay(body: ModelBody, way: Way): ModelBody {
  if (body === null || typeof body === "string") return body;
  if (way === "iterate" || way === "pieces") return body;
  if (way !== "writeTo") return body.map(([, data]) => data).join("");
  // The encoded body, with sizes in lower case.
  return body.map(([extension, data]) => {
    const suffix = extension === null ? "" : `;${extension.join("=")}`;
    return `${data.length.toString(16)}${suffix}\r\n${data}\r\n`;
  }).join("");
}
