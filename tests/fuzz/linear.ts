/** The functions that must take linear time, and their texts. */

import { ChunkScanner } from "@degu/internal/base/wire/chunk.ts";
import { ChunkedBody } from "@degu/internal/base/body/body.ts";
import { ReadBuffer } from "@degu/internal/base/body/byte_io.ts";
import { PreambleSearch } from "@degu/internal/net/protocol/preamble_search.ts";
import { parseChunkHeader, parseRequest, parseResponse, parseUri } from "../base/messages.ts";
import { checkConditions } from "@degu/internal/files/wire/conditions.ts";
import { EntryParser } from "@degu/internal/files/wire/entries.ts";
import { isDigestRequested, parseReprDigest } from "@degu/internal/files/wire/digest.ts";
import { cutBytes } from "../support/streams.ts";
import { encodeLatin1 } from "../support/wire_grammar.ts";
import { checkLinear, PREAMBLE, type Target } from "./check_linear.ts";
import { makeDictionary } from "./digests.ts";
import type { Fuzzer, Outcome } from "./fuzzer.ts";
import {
  makeChunkLine,
  makeChunks,
  makeRequestPreamble,
  makeResponsePreamble,
  makeUri,
} from "./grammar.ts";
import { HEADER_TARGETS } from "./header_targets.ts";
import { MemorySocket } from "./memory.ts";
import type { Random } from "./random.ts";

const CHUNK_LINE = 4000;

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

type TargetRow = readonly [grammar: (random: Random) => string, target: Target];

/** The parsers and scanners, with the alphabets of their texts. */
const PARSERS: readonly TargetRow[] = [
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
  [makeDictionary, {
    longLength: PREAMBLE,
    make: (text) => () => isDigestRequested({ "want-repr-digest": text }),
  }],
  [makeEtags, { longLength: PREAMBLE, make: (text) => () => checkEtags("if-match", text) }],
  [makeEtags, { longLength: PREAMBLE, make: (text) => () => checkEtags("if-none-match", text) }],
  [makeList, { longLength: PREAMBLE, make: makeWithBytes(readListDrip) }],
];

/** The measured functions, by the first character of the input. */
const TARGETS: readonly TargetRow[] = [
  ...PARSERS,
  ...HEADER_TARGETS.values().map((target): TargetRow => [makeConnectionOptions, target]),
];

/** The code of the first target: the separators between the parts of an input are lower. */
const FIRST_CODE = 0x30;

async function receivePreamble(socket: MemorySocket): Promise<void> {
  const buffer = new ReadBuffer();
  const search = new PreambleSearch(buffer, () => {});
  while (search.findEnd() < 0) {
    if (await buffer.fill(socket) === 0) return search.checkEnd();
  }
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

function checkEtags(name: string, list: string): void {
  checkConditions({ [name]: list }, { etag: '"a"', lastModified: null, modified: 0 });
}

function makeEtags(random: Random): string {
  const tags = Array.from({ length: 1 + random.below(4) }, () => random.pick(['"a', 'W/"a"', "*"]));
  return tags.join(random.pick([",", ", ", " , "]));
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
  const target = random.below(random.chance(50) ? PARSERS.length : TARGETS.length);
  const text = TARGETS[target]![0](random).slice(0, 300);
  const start = random.below(text.length + 1);
  const end = start + 1 + random.below(random.chance(60) ? 4 : 40);
  // The separators are characters that no grammar contains.
  const parts = [text.slice(0, start), text.slice(start, end), text.slice(end)];
  return [String.fromCharCode(FIRST_CODE + target), ...parts].join("\x1e");
}

/** Checks that every scanner, parser and copy of headers takes linear time. */
export const linearTime: Fuzzer = {
  name: "linear-time",
  grammar: makeRepeated,
  async check(input): Promise<Outcome> {
    const [kind = "", prefix = "", part = "", suffix = ""] = input.split("\x1e");
    if (part === "") return "rejected";
    const index = Math.abs((kind.charCodeAt(0) || FIRST_CODE) - FIRST_CODE);
    const [, target] = TARGETS[index % TARGETS.length]!;
    await checkLinear(target, prefix, part, suffix);
    return "accepted";
  },
};
