/**
 * Responses to a client's requests: through a real connection over a socket in memory, split at every
 * boundary.
 */

import type { Method } from "@degu/internal/base/wire/method.ts";
import { Connection } from "@degu/degu/client";
import { encodeLatin1 } from "../support/wire_grammar.ts";
import { demand, type Fuzzer, isPeerError, type Outcome } from "./fuzzer.ts";
import { makeResponse } from "./grammar.ts";
import { AnsweringSocket, makeSplits } from "./memory.ts";
import { describe, readOneResponse } from "./oracle.ts";
import type { Random } from "./random.ts";
import { convertForWay, flatten, receiveOfResponse, type Way, WAYS } from "./received.ts";

const METHODS: readonly Method[] = ["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"];

/**
 * Separates the responses in an input; the first character of each selects the request's method.
 */
const SEPARATOR = "\x1e";

type Exchange = ReturnType<typeof parseExchanges>[number];

function parseExchanges(input: string) {
  return input.split(SEPARATOR).map((part) => ({
    method: METHODS[(part.charCodeAt(0) || 0) % METHODS.length]!,
    answer: part.slice(1),
  }));
}

function makeResponses(random: Random): string {
  const parts = [];
  for (let n = 1 + random.below(3); n > 0; n--) {
    parts.push(random.pick(["\x00", "\x00", "\x01", "\x02", "\x03"]) + makeResponse(random));
  }
  return parts.join(SEPARATOR);
}

interface SeenResponses {
  readonly messages: string[];
  /** The code of the error that ended the exchange, or `null`. */
  code: string | null;
  /** The preamble of a response whose body failed. */
  broken: string | null;
}

async function perform(
  exchanges: readonly Exchange[],
  pieces: (readonly Uint8Array[])[],
  way: Way,
): Promise<SeenResponses> {
  const socket = new AnsweringSocket(pieces);
  const connection = new Connection(socket, null, undefined, null);
  const seen: SeenResponses = { messages: [], code: null, broken: null };
  for (const { method } of exchanges) {
    try {
      const { status, reason, headers, body } = await connection.request(method, "/", {}, null);
      const preamble = { status, reason, headers: flatten(headers) };
      seen.broken = describe(preamble);
      seen.messages.push(describe({ ...preamble, body: await receiveOfResponse(body, way) }));
      seen.broken = null;
      if (connection.closed) break;
      socket.endExchange();
    } catch (error) {
      demand(isPeerError(error), `${error} is no error of a peer`);
      demand(connection.closed && socket.isClosed, "still open after an error");
      seen.code = error.code;
      break;
    }
  }
  connection.close();
  return seen;
}

interface ExpectedResponses extends SeenResponses {
  readonly clean: boolean;
}

/** Returns the responses that the oracle finds. */
function findExpected(exchanges: readonly Exchange[], way: Way): ExpectedResponses {
  const messages: string[] = [];
  for (const [i, { method, answer }] of exchanges.entries()) {
    const model = readOneResponse(method, answer);
    if (model === null) return { messages, code: null, broken: null, clean: false };
    const { status, reason, headers, body, excess, closes } = model;
    const preamble = { status, reason, headers };
    if (body === undefined) {
      return { messages, code: null, broken: describe(preamble), clean: false };
    }
    messages.push(describe({ ...preamble, body: convertForWay(body, way) }));
    if (closes) break;
    if (excess > 0 && i + 1 < exchanges.length) {
      return { messages, code: "EXCESS_BYTES", broken: null, clean: false };
    }
  }
  return { messages, code: null, broken: null, clean: true };
}

const MAX_SPLITS = 400;

export function makeResponseStreams(): Fuzzer {
  return {
    name: "response-stream",
    grammar: makeResponses,
    async check(input): Promise<Outcome> {
      const exchanges = parseExchanges(input);
      const bytes = exchanges.map(({ answer }) => encodeLatin1(answer));
      const codes = new Set<string | null>();
      let clean = false;
      let index = 0;
      for (const pieces of makeSplitsOfAll(bytes)) {
        const way = WAYS[(input.length + index++) % WAYS.length]!;
        const expected = findExpected(exchanges, way);
        const seen = await perform(exchanges, pieces, way);
        const pieceLabel = `(${way}, pieces ${
          pieces.map((list) => list.map((piece) => piece.length))
        })`;
        demand(
          seen.messages.join("\n") === expected.messages.join("\n"),
          `${seen.messages} in place of ${expected.messages} ${pieceLabel}`,
        );
        demand((seen.code === null) === expected.clean, `ended with ${seen.code} ${pieceLabel}`);
        demand(seen.broken === expected.broken, `began ${seen.broken} ${pieceLabel}`);
        if (expected.code !== null) {
          demand(seen.code === expected.code, `${seen.code} ${pieceLabel}`);
        }
        codes.add(seen.code);
        clean = expected.clean;
      }
      demand(codes.size === 1, `the codes depend on the pieces: ${[...codes]}`);
      return clean ? "accepted" : "rejected";
    },
  };
}

/**
 * Yields ways to cut the responses: all whole, all byte by byte, and each response in turn cut at
 * every boundary.
 */
function* makeSplitsOfAll(responses: readonly Uint8Array[]): Generator<(readonly Uint8Array[])[]> {
  const splitLists = responses.map((bytes) => [...makeSplits(bytes, MAX_SPLITS)]);
  yield splitLists.map(([wholeSplit]) => wholeSplit!);
  yield splitLists.map(([, single]) => single!);
  for (const [i, ways] of splitLists.entries()) {
    for (const pieces of ways.slice(2)) {
      yield splitLists.map(([wholeSplit], index) => index === i ? pieces : wholeSplit!);
    }
  }
}
