/**
 * Linear time: a part of a text is repeated to a short and a long text, and the time for the long
 * text must be longer in proportion at most.
 */

import process from "node:process";
import { removeHopByHopHeaders } from "@degu/internal/apps/proxy.ts";
import type { HeaderDict } from "@degu/degu/base";
import { ChunkScanner } from "@degu/internal/base/wire/chunk.ts";
import { ChunkedBody } from "@degu/internal/base/body/body.ts";
import { Transport } from "@degu/internal/net/transport.ts";
import {
  parseChunkHeader,
  parseRequest,
  parseResponse,
  parseUri,
} from "@degu/internal/misc/wire.ts";
import { EntryParser } from "@degu/internal/files/entries.ts";
import { parseReprDigest, parseWantReprDigest } from "@degu/internal/files/digest.ts";
import { cutBytes } from "../support/streams.ts";
import { encodeLatin1 } from "../support/wire_grammar.ts";
import { makeDictionary } from "./digests.ts";
import { type Fuzzer, Objection, type Outcome } from "./fuzzer.ts";
import {
  makeChunkLine,
  makeChunks,
  makeRequestPreamble,
  makeResponsePreamble,
  makeUri,
} from "./grammar.ts";
import { MemorySocket } from "./memory.ts";
import type { Random } from "./random.ts";

/** The ratio of the lengths of the long and the short text. */
const LONGER = 16;
/**
 * The allowed ratio of the times per byte of the long and the short text. For quadratic time the
 * ratio would be 16.
 */
const MAX_GROWTH = 6;
/** Shorter times can't be distinguished from the cost of measuring. */
const MIN_MILLISECONDS = 0.02;
const REPETITIONS = 8, MAX_MILLISECONDS = 20, ATTEMPTS = 40;

/** A function whose time is measured. */
interface Target {
  /** The length of the long text in characters, within the limit of the parser. */
  readonly longLength: number;
  /** Prepares a text, and returns the function to measure. */
  make(text: string): () => unknown;
}

const PREAMBLE = 32000, CHUNK_LINE = 4000;

function makeWithBytes(work: (bytes: Uint8Array) => unknown): Target["make"] {
  return (text) => {
    const bytes = encodeLatin1(text);
    return () => work(bytes);
  };
}

/** Makes a target whose text arrives one byte at a time. */
function makeWithDrip(work: (socket: MemorySocket) => unknown): Target["make"] {
  return (text) => {
    const pieces = cutBytes(encodeLatin1(text), 1);
    return () => work(new MemorySocket(pieces));
  };
}

const line = (random: Random) => makeChunkLine(random.below(20), random);

/**
 * Headers that have one half of the text as `connection`, and fill the other half with other
 * headers.
 */
export const namedHeaders: Target = {
  longLength: PREAMBLE,
  make(text) {
    const half = Math.floor(text.length / 2);
    const headers: HeaderDict = { connection: text.slice(0, half) };
    for (let i = 0, size = 0; size < half; i++) {
      const name = `x-${i}`;
      headers[name] = "1";
      size += `${name}: 1\r\n`.length;
    }
    return () => removeHopByHopHeaders(headers);
  },
};

/**
 * The measured functions, by the first character of the input, with the alphabets of their texts.
 */
const TARGETS: readonly (readonly [grammar: (random: Random) => string, target: Target])[] = [
  [makeRequestPreamble, { longLength: PREAMBLE, make: makeWithBytes(parseRequest) }],
  [makeResponsePreamble, {
    longLength: PREAMBLE,
    make: makeWithBytes((bytes) => parseResponse("GET", bytes)),
  }],
  [makeUri, { longLength: PREAMBLE, make: (text) => () => parseUri(text) }],
  [line, { longLength: CHUNK_LINE, make: makeWithBytes(parseChunkHeader) }],
  [line, { longLength: CHUNK_LINE, make: makeWithBytes(scanDrip) }],
  [makeRequestPreamble, { longLength: PREAMBLE, make: makeWithDrip(receivePreamble) }],
  [makeChunks, {
    longLength: PREAMBLE,
    make: makeWithDrip((socket) => new ChunkedBody(socket).read()),
  }],
  [makeDictionary, { longLength: PREAMBLE, make: (text) => () => parseReprDigest(text) }],
  [makeDictionary, { longLength: PREAMBLE, make: (text) => () => parseWantReprDigest(text) }],
  [makeConnectionOptions, namedHeaders],
  [makeList, { longLength: PREAMBLE, make: makeWithBytes(readListDrip) }],
];

async function receivePreamble(socket: MemorySocket): Promise<void> {
  const transport = new Transport(socket, null, () => {});
  while (transport.searchPreamble() < 0) transport.endReceive(await transport.beginReceive());
}

/** Scans the chunked coding one byte at a time. */
function scanDrip(bytes: Uint8Array): void {
  const scanner = new ChunkScanner();
  let at = 0;
  for (let end = 1; end <= bytes.length && scanner.phase !== "done"; end++) {
    const next = scanner.advance(bytes, at, end);
    if (next >= 0) at = next;
  }
}

/** Reads the list of a tree one byte at a time. */
function readListDrip(bytes: Uint8Array): void {
  const parser = EntryParser.ofTree();
  for (let at = 0; at < bytes.length; at++) {
    for (const _entry of parser.push(bytes.subarray(at, at + 1)));
  }
}

/** Returns the processor time of this process in milliseconds, without that of other processes. */
function readProcessorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/**
 * Returns the mean time of a call; long calls are repeated fewer times. This is the processor time,
 * or the elapsed time if that is shorter, because processor time includes other threads of this
 * process.
 */
async function measure(work: () => unknown): Promise<number> {
  const [start, startTime] = [readProcessorTime(), performance.now()];
  for (let count = 1;; count++) {
    try {
      await work();
    } catch {
      // Other fuzzers check whether the text is accepted.
    }
    const spentMilliseconds = Math.min(readProcessorTime() - start, performance.now() - startTime);
    if (count === REPETITIONS || spentMilliseconds > MAX_MILLISECONDS) {
      return spentMilliseconds / count;
    }
  }
}

/** Repeats a part of a text until it has a length. */
function repeatPart(prefix: string, part: string, suffix: string, length: number): string {
  const remainingLength = Math.max(0, length - prefix.length - suffix.length);
  return prefix + part.repeat(Math.ceil(remainingLength / part.length)).slice(0, remainingLength) +
    suffix;
}

/** Returns the options of a `connection` header. */
function makeConnectionOptions(random: Random): string {
  const names = Array.from(
    { length: 1 + random.below(4) },
    () => random.pick(["close", "x-1", `x-${random.below(2000)}`, "a", ""]),
  );
  return names.join(random.pick([",", ", ", " , "]));
}

/** Returns a list of some items. */
function makeList(random: Random): string {
  const part = () =>
    random.pick(["{", "}", '"', "\\", " ", "\n", ",", "[", "]", "a", '"path":["a"]']);
  return `[\n{"path":["${Array.from({ length: random.below(20) }, part).join("")}`;
}

function makeRepeated(random: Random): string {
  const target = random.below(TARGETS.length);
  const text = TARGETS[target]![0](random).slice(0, 300);
  const start = random.below(text.length + 1);
  const end = start + 1 + random.below(random.chance(60) ? 4 : 40);
  // The separators are characters that no grammar contains.
  const parts = [text.slice(0, start), text.slice(start, end), text.slice(end)];
  return [String.fromCharCode(target), ...parts].join("\x1e");
}

/** Checks that the time of a target grows no faster than a text in which a part is repeated. */
export async function checkLinear(
  { longLength, make }: Target,
  prefix: string,
  part: string,
  suffix: string,
): Promise<void> {
  const shortLength = Math.floor(longLength / LONGER);
  const workShort = make(repeatPart(prefix, part, suffix, shortLength));
  const workLong = make(repeatPart(prefix, part, suffix, longLength));
  let shortTime = Infinity, longTime = Infinity;
  // A compilation or a garbage collection makes a single measurement longer, never shorter.
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    shortTime = Math.min(shortTime, await measure(workShort));
    longTime = Math.min(longTime, await measure(workLong));
    const maxTime = Math.max(shortTime, MIN_MILLISECONDS) * MAX_GROWTH * LONGER;
    if (longTime <= maxTime) return;
  }
  const times = `${shortTime.toFixed(3)} ms, ${longLength} ${longTime.toFixed(3)} ms`;
  throw new Objection(`${shortLength} characters took ${times}`);
}

/** Checks that every scanner and parser takes linear time. */
export const linearTime: Fuzzer = {
  name: "linear-time",
  grammar: makeRepeated,
  async check(input): Promise<Outcome> {
    const [kind = "", prefix = "", part = "", suffix = ""] = input.split("\x1e");
    if (part === "") return "rejected";
    const [, target] = TARGETS[(kind.charCodeAt(0) || 0) % TARGETS.length]!;
    await checkLinear(target, prefix, part, suffix);
    return "accepted";
  },
};
