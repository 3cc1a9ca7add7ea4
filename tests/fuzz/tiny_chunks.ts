/**
 * Bodies in tiny chunks, collected in every way: the bytes must be right, and the memory in
 * proportion to the data, not to the number of chunks.
 */

import { ChunkedBody } from "@degu/internal/base/body/body.ts";
import { decodeLatin1, encodeLatin1 } from "../support/wire_grammar.ts";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import type { Random } from "./random.ts";

const CHUNKS = 20_000;
const PIECE_BYTES = 10_000;
const FIXED_BYTES = 1_048_576;

/** Collects garbage, if the process was started with --v8-flags=--expose-gc. */
const collectGarbage = (globalThis as { gc?: () => void }).gc;

function countHeldBytes(): number {
  collectGarbage?.();
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

const WAYS = {
  bytes: async (body: ChunkedBody) => decodeLatin1(await body.bytes()),
  read: async (body: ChunkedBody) => decodeLatin1(await body.read()),
  text: (body: ChunkedBody) => body.text(),
  json: async (body: ChunkedBody) => String(await body.json()),
};

/**
 * Encodes one chunk for each letter of a script, which is repeated: `a` has a byte of data, `b` two
 * bytes, and so on; a capital letter has extensions and leading zeros.
 */
function encode(script: string): { encoded: string; data: string; isWhole: boolean } {
  let encoded = "", data = "";
  for (let i = 0; i < CHUNKS; i++) {
    const letter = script[i % script.length]!;
    const size = 1 + letter.toLowerCase().charCodeAt(0) % 8;
    const content = "7".repeat(size);
    encoded += `${/[A-Z]/.test(letter) ? `00${size} ; k = "\\"" ;l=v` : size}\r\n${content}\r\n`;
    data += content;
  }
  // A script with an exclamation mark is cut.
  const isWhole = !script.includes("!");
  return { encoded: isWhole ? `${encoded}0\r\n\r\n` : encoded, data, isWhole };
}

export const tinyChunks: Fuzzer = {
  name: "tiny-chunks",
  grammar: (random: Random) => random.text("aAbBcdefgh", 1, 12) + (random.chance(30) ? "!" : ""),
  async check(input): Promise<Outcome> {
    if (input === "") return "rejected";
    const { encoded, data, isWhole } = encode(input);
    const [way, collect] = Object.entries(WAYS)[input.length % 4]!;
    let atEnd = 0;
    const initialBytes = countHeldBytes();
    function* makePieces(): Generator<Uint8Array> {
      for (let at = 0; at < encoded.length; at += PIECE_BYTES) {
        if (at + PIECE_BYTES >= encoded.length) atEnd = countHeldBytes();
        yield encodeLatin1(encoded.slice(at, at + PIECE_BYTES));
      }
    }
    let collected: string | null = null;
    try {
      collected = await collect(new ChunkedBody(ReadableStream.from(makePieces())));
    } catch (error) {
      demand(!isWhole, `${way} of a whole body rejected with ${error}`);
    }
    if (collectGarbage !== undefined) {
      const heldPerBody = atEnd - initialBytes;
      demand(
        heldPerBody < 4 * data.length + FIXED_BYTES,
        `${heldPerBody} bytes for ${data.length} (${way})`,
      );
    }
    if (collected === null) return "rejected";
    const expected = way === "json" ? String(JSON.parse(data)) : data;
    demand(isWhole && collected === expected, `${way} gave ${collected.length} characters`);
    return "accepted";
  },
};
