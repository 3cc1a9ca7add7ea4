/**
 * Streams of requests to a server: over sockets in memory, split at every boundary, and over
 * loopback sockets.
 */

import type { App } from "@degu/internal/base/app/app.ts";
import { type Exchange, Server } from "@degu/degu/server";
import { exchange } from "../support/raw_peer.ts";
import { cutBytes } from "../support/streams.ts";
import { encodeLatin1 } from "../support/wire_grammar.ts";
import { demand, type Fuzzer, isPeerError, type Outcome } from "./fuzzer.ts";
import { makeRequest } from "./grammar.ts";
import { makeSplits, MemoryServer, MemorySocket, quietLogger } from "./memory.ts";
import { describe, type ModelRequest, readRequests } from "./oracle.ts";
import { convertForWay, flatten, receive, type Way, WAYS } from "./received.ts";
import type { Random } from "./random.ts";

/** Returns the response with status 200 and a null body. */
function formatEmptyResponse({ method, isLast }: ModelRequest): string {
  const close = isLast ? "connection: close\r\n" : "";
  const length = method === "HEAD" ? "" : "content-length: 0\r\n";
  return `HTTP/1.1 200 OK\r\n${close}${length}\r\n`;
}

/** The requests that the server has passed to the app. */
class RequestRecord {
  way: Way = "read";
  calls = 0;
  readonly requests: string[] = [];
  /** The requests that were reported to onExchange, with the status. */
  readonly exchanges: string[] = [];
  readonly unexpectedErrors: unknown[] = [];

  readonly app: App = async ({ method, uri, headers, body }) => {
    this.calls++;
    try {
      const content = await receive(body, this.way);
      this.requests.push(
        describe({ method, uri, headers: flatten(headers), body: content }),
      );
    } catch (error) {
      if (!isPeerError(error)) this.unexpectedErrors.push(error);
      throw error;
    }
    return [200, "OK", {}, null];
  };

  readonly onExchange = ({ method, uri, status }: Exchange): void =>
    void this.exchanges.push(`${method} ${uri} ${status}`);

  begin(way: Way): void {
    this.way = way;
    this.calls = 0;
    for (const list of [this.requests, this.exchanges, this.unexpectedErrors]) list.length = 0;
  }
}

const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";

/** A server may read a longer input in more pieces than its peer has sent. */
const MAX_EXACT_LENGTH = 1000;

/**
 * Returns a function that lists the texts that a server may send before the response to a request
 * whose body it reads. A 100 is sent exactly if the client waits for it, and the body begins a
 * piece.
 *
 * @param pieces The pieces in which the server has read the input, or `null` if they are unknown.
 */
export function findInterims(
  input: string,
  pieces: readonly Uint8Array[] | null,
): (awaitedBody: number | null | undefined) => readonly string[] {
  let end = 0;
  const pieceEnds = pieces === null || input.length > MAX_EXACT_LENGTH
    ? null
    : new Set(pieces.map(({ length }) => end += length));
  return (awaitedBody) => {
    if (awaitedBody == null) return [""];
    if (pieceEnds === null) return ["", CONTINUE];
    return [pieceEnds.has(awaitedBody) ? CONTINUE : ""];
  };
}

/**
 * Returns the texts that a server may send to requests whose bodies it reads: a response to each,
 * and one of the answers to bytes that are no request.
 */
function formatExpected(
  { requests, answers, awaitedBodies }: ReturnType<typeof readRequests>,
  interimsOf: ReturnType<typeof findInterims>,
): string[] {
  const responses = [...requests.map((request) => [formatEmptyResponse(request)]), answers];
  let texts = [""];
  for (const [i, ownTexts] of responses.entries()) {
    const interims = interimsOf(awaitedBodies[i]);
    texts = texts.flatMap((text) =>
      interims.flatMap((interim) => ownTexts.map((own) => text + interim + own))
    );
  }
  return texts;
}

/**
 * Demands that the server has found the same requests as the oracle.
 *
 * @param pieces The pieces in which the server has read the input, or `null` if they are unknown.
 */
function checkRecord(
  record: RequestRecord,
  input: string,
  { written, reset = false }: { written: string; reset?: boolean },
  pieceLabel: string,
  pieces: readonly Uint8Array[] | null,
): boolean {
  const expected = readRequests(input);
  const { way, requests, calls, unexpectedErrors } = record;
  demand(unexpectedErrors.length === 0, `the application met ${unexpectedErrors[0]} ${pieceLabel}`);
  const expectedRequests = expected.requests.map(({ method, uri, headers, body }) =>
    describe({ method, uri, headers, body: convertForWay(body, way) })
  );
  demand(
    requests.length === expectedRequests.length &&
      requests.every((text, i) => text === expectedRequests[i]),
    `the application got ${requests.join(" | ")} in place of ${
      expectedRequests.join(" | ")
    } ${pieceLabel}`,
  );
  const expectedCalls = expectedRequests.length + (expected.broken === null ? 0 : 1);
  demand(
    calls === expectedCalls,
    `${calls} calls of the application in place of ${expectedCalls} ${pieceLabel}`,
  );
  // A reset may discard earlier responses.
  const isExpectedText = formatExpected(expected, findInterims(input, pieces)).some((fullText) =>
    reset ? fullText.startsWith(written) : written === fullText
  );
  demand(isExpectedText, `${written} was answered ${pieceLabel}`);
  return expected.clean && expectedRequests.length > 0;
}

/** Demands that exactly the requests for which the app was called were reported as exchanges. */
function checkExchanges({ exchanges }: RequestRecord, input: string, pieceLabel: string): void {
  const { requests, broken } = readRequests(input);
  const expected = requests.map(({ method, uri }) => `${method} ${uri} 200`);
  if (broken !== null) {
    const last = exchanges.at(-1)!;
    const isAnswered = last?.endsWith(" 400");
    expected.push(`${broken.method} ${broken.uri} ${isAnswered ? 400 : null}`);
  }
  demand(
    exchanges.join() === expected.join(),
    `${exchanges} in place of ${expected} ${pieceLabel}`,
  );
}

const MAX_SPLITS = 400;

/** Returns one to three requests that are valid or almost valid. */
export function makeRequestStream(random: Random): string {
  let text = "";
  for (let n = 1 + random.below(3); n > 0; n--) text += makeRequest(random);
  return text;
}

/** Makes a fuzzer of streams of requests over sockets in memory, cut at every boundary. */
export function makeRequestStreams(): Fuzzer {
  const record = new RequestRecord();
  const server = new MemoryServer(record.app, record.onExchange);
  return {
    name: "request-stream",
    grammar: makeRequestStream,
    async check(input): Promise<Outcome> {
      let accepted = false;
      let index = 0;
      for (const pieces of makeSplits(encodeLatin1(input), MAX_SPLITS)) {
        record.begin(WAYS[(input.length + index++) % WAYS.length]!);
        const socket = new MemorySocket(pieces);
        await server.connect(socket);
        const pieceLabel = `(${record.way}, pieces ${pieces.map(({ length }) => length)})`;
        accepted = checkRecord(record, input, socket, pieceLabel, pieces);
        checkExchanges(record, input, pieceLabel);
      }
      return accepted ? "accepted" : "rejected";
    },
    close: () => server.end(),
  };
}

/** Makes a fuzzer of streams of requests over loopback sockets, in one piece or two. */
export function makeLoopbackRequests(): Fuzzer {
  const record = new RequestRecord();
  const server = new Server(["127.0.0.1", 0], record.app, {
    logger: quietLogger,
    hosts: "any",
  });
  const serving = server.serveForever();
  return {
    name: "request-loopback",
    grammar: makeRequestStream,
    async check(input): Promise<Outcome> {
      const bytes = encodeLatin1(input);
      record.begin(WAYS[input.length % WAYS.length]!);
      const split = input.length * 31 % (bytes.length + 1);
      const pieces = cutBytes(bytes, ...input.length % 3 === 0 ? [] : [split, bytes.length]);
      const { received: written, kind: ending } = await exchange(server.address, ...pieces);
      const response = { written, reset: ending === "reset" };
      return checkRecord(record, input, response, `over loopback, cut at ${split}`, null)
        ? "accepted"
        : "rejected";
    },
    async close() {
      server.close();
      await serving;
    },
  };
}
