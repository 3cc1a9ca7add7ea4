/**
 * Apps that respond to HEAD as to GET and don't read bodies: the responses, the end of the session,
 * and the log.
 */

import type { App } from "@degu/internal/base/app/app.ts";
import { BodyIter, type BodyOut, ChunkedBodyIter } from "@degu/degu";
import type { Chunk } from "@degu/degu/base";
import { TrackedItems } from "../support/streams.ts";
import { encodeLatin1 } from "../support/wire_grammar.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import { makeSplits, MemoryServer, MemorySocket, quietLogger } from "./memory.ts";
import { hasConnectionClose, type ModelBody, type ModelRequest, readRequests } from "./oracle.ts";
import { receive } from "./received.ts";
import { findInterims, makeRequestStream } from "./requests.ts";

const HI = encodeLatin1("hi");
const CHUNKS: readonly Chunk[] = [[null, HI], [null, new Uint8Array(0)]];
const MAX_SPLITS = 12;

/** The app's behavior depends on the length of the request target. */
const readsBody = (uri: string) => uri.length % 3 > 0;
const kindOf = (uri: string) => (["bytes", "pieces", "chunks", "null"] as const)[uri.length % 4]!;

/** The framing header and the encoded body of each kind of response. */
const ANSWERS = {
  "bytes": ["content-length: 2\r\n", "hi"],
  "pieces": ["content-length: 2\r\n", "hi"],
  "chunks": ["transfer-encoding: chunked\r\n", "2\r\nhi\r\n0\r\n\r\n"],
  "null": ["content-length: 0\r\n", ""],
} as const;

const MAX_DROPPED_BYTES = 65536;
/** A server reads a longer input in more pieces than its peer has sent. */
const MAX_EXACT_LENGTH = 1000;

/** Returns the position after the bytes that a server has once it has read a preamble. */
function findReceivedEnd(pieces: readonly Uint8Array[], preambleEnd: number): number {
  let end = 0;
  for (const { length } of pieces) {
    end += length;
    if (end >= preambleEnd) break;
  }
  return end;
}

/**
 * Returns whether a server continues after a request whose body its app has ignored; `null` if
 * this depends on how much the server has read.
 */
function isDropped(
  { body, isLast }: ModelRequest,
  [bodyStart, bodyEnd]: readonly [start: number, end: number],
  kind: keyof typeof ANSWERS,
  input: string,
  pieces: readonly Uint8Array[],
): boolean | null {
  if (isLast || typeof body !== "string" || body.length > MAX_DROPPED_BYTES) return false;
  if (kind === "bytes" || kind === "null") return true;
  // A streamed response may read the request, so only what has arrived is dropped.
  return input.length > MAX_EXACT_LENGTH ? null : findReceivedEnd(pieces, bodyStart) >= bodyEnd;
}

/**
 * Returns all response texts that a server may send. An app that doesn't read the body doesn't
 * detect that the body is broken.
 */
function listResponses(input: string, pieces: readonly Uint8Array[]): string[] {
  const { requests, broken, answers: last, awaitedBodies, bodyRanges } = readRequests(input);
  const interimsOf = findInterims(input, pieces);
  const endedResponses: string[] = [];
  let responses = [""];
  const append = (texts: readonly string[]) => {
    responses = responses.flatMap((before) => texts.map((text) => before + text));
  };
  const messages: (Omit<ModelRequest, "body"> & { body: ModelBody | undefined })[] = [...requests];
  if (broken !== null) {
    const isLast = broken.isHttp10 || hasConnectionClose(broken.headers);
    messages.push({ ...broken, isLast, body: undefined });
  }
  for (const [i, message] of messages.entries()) {
    const { method, uri, isHttp10, body } = message;
    if (readsBody(uri)) append(interimsOf(awaitedBodies[i]));
    if (readsBody(uri) && body === undefined) break;
    const isUnread = !readsBody(uri) && body !== null;
    const kind = kindOf(uri);
    const request = requests[i];
    const mayContinue = request === undefined || awaitedBodies[i] !== null
      ? false
      : isDropped(request, bodyRanges[i]!, kind, input, pieces);
    // A streamed response body may still read the request's body.
    const isCloseAnnounced = message.isLast ||
      isUnread && mayContinue === false && ["bytes", "null"].includes(kind);
    const close = isCloseAnnounced ? "connection: close\r\n" : "";
    const isWithoutBody = kind === "null" && method === "HEAD";
    // A client of HTTP/1.0 gets no chunks.
    const [header, content] = isWithoutBody
      ? ["", ""]
      : isHttp10 && kind === "chunks"
      ? ["", ANSWERS.bytes[1]]
      : ANSWERS[kind];
    append([`HTTP/1.1 200 OK\r\n${close}${header}\r\n${method === "HEAD" ? "" : content}`]);
    if (!isUnread || mayContinue === true) continue;
    endedResponses.push(...responses);
    if (mayContinue === false) return endedResponses;
  }
  append(last);
  return [...endedResponses, ...responses];
}

/** Makes a fuzzer of streams of requests to such an app, over sockets in memory. */
export function makeCarelessApps(): Fuzzer {
  const sources: TrackedItems<unknown>[] = [];
  const track = <T>(items: readonly T[]): Iterable<T> => {
    const tracked = new TrackedItems(items);
    sources.push(tracked);
    return tracked.toIterable();
  };
  const makeBody: Record<keyof typeof ANSWERS, () => BodyOut> = {
    "bytes": () => HI,
    "pieces": () => new BodyIter(track([HI]), 2),
    "chunks": () => new ChunkedBodyIter(track(CHUNKS)),
    "null": () => null,
  };
  const app: App = async ({ uri, body }) => {
    if (readsBody(uri)) await receive(body, "read");
    return [200, "OK", {}, makeBody[kindOf(uri)]()];
  };
  const loudLines: string[] = [];
  const recordLoudLine = (line: string) => void loudLines.push(line);
  const server = new MemoryServer(app, undefined, {
    ...quietLogger,
    warn: recordLoudLine,
    error: recordLoudLine,
  });
  return {
    name: "careless-app",
    grammar: makeRequestStream,
    async check(input): Promise<Outcome> {
      let isAnswered = false;
      for (const pieces of makeSplits(encodeLatin1(input), MAX_SPLITS)) {
        const expected = listResponses(input, pieces);
        isAnswered = expected[0] !== "";
        sources.length = loudLines.length = 0;
        const socket = new MemorySocket(pieces);
        await server.connect(socket);
        const { written } = socket;
        const pieceLabel = `(pieces ${pieces.map(({ length }) => length)})`;
        demand(
          expected.includes(written),
          `${written} was answered in place of ${expected} ${pieceLabel}`,
        );
        demand(loudLines.length === 0, `it was logged: ${loudLines} ${pieceLabel}`);
        demand(
          sources.every(({ isSettled }) => isSettled),
          `a source was not settled ${pieceLabel}`,
        );
      }
      return isAnswered ? "accepted" : "rejected";
    },
    close: () => server.end(),
  };
}
