/**
 * Inputs derived from other inputs: changed in a few places, cut and joined. What was accepted after a
 * change is kept and changed again, so that a run explores the border of the grammar.
 *
 * @module
 */

import type { Random } from "./random.ts";

/** Texts that begin, end or separate something somewhere, or that readers are known to disagree on. */
const TOKENS = [
  "\r",
  "\n",
  "\r\n",
  "\r\n\r\n",
  "\n\n",
  "\n\r\n",
  " ",
  "\t",
  "\0",
  "\x0b",
  "\x0c",
  "\x7f",
  "\x80",
  "\xa0",
  "\xff",
  ":",
  ": ",
  " :",
  ";",
  ",",
  "=",
  "-",
  "/",
  "//",
  "?",
  "#",
  "%",
  "%2e",
  "..",
  "0",
  "00",
  "1",
  "f",
  "\\",
  '"',
  "_",
  "@",
  "HTTP/1.1",
  "GET ",
  "chunked",
  "\r\ncontent-length: 5",
  "\r\ntransfer-encoding: chunked",
  "\r\n ",
  "0\r\n\r\n",
  "\r\n0\r\n\r\n",
]; // deno-fmt-ignore

const LONGEST = 40000;

/** Changes a text in one to four places; `other` is what it may be joined with. */
export function mutate(text: string, other: string, random: Random): string {
  for (let n = 1 + random.below(4); n > 0; n--) text = mutateOnce(text, other, random);
  return text.length > LONGEST ? text.slice(0, LONGEST) : text;
}

function mutateOnce(text: string, other: string, random: Random): string {
  const at = random.below(text.length + 1);
  const length = random.chance(70) ? 1 + random.below(4) : random.below(text.length + 1);
  const before = text.slice(0, at);
  switch (random.below(9)) {
    case 0:
    case 1:
      return before + random.pick(TOKENS) + text.slice(at);
    case 2:
      return before + text.slice(at + length);
    case 3:
      return before + String.fromCharCode(random.below(256)) + text.slice(at + 1);
    case 4:
      return before + flipBit(text.slice(at, at + 1), random) + text.slice(at + 1);
    case 5:
      return before + text.slice(at, at + length) + text.slice(at);
    case 6:
      return before + flipCase(text.slice(at, at + length)) + text.slice(at + length);
    case 7:
      return before + other.slice(random.below(other.length + 1));
    default:
      return swapLines(text, random);
  }
}

function flipBit(character: string, random: Random): string {
  if (character === "") return "";
  return String.fromCharCode(character.charCodeAt(0) ^ (1 << random.below(8)));
}

function flipCase(text: string): string {
  const upper = text.toUpperCase();
  // What has no upper case in Latin-1 stays as it is.
  return upper.length === text.length && !/[^\0-\xff]/.test(upper) && upper !== text
    ? upper
    : text.toLowerCase();
}

function swapLines(text: string, random: Random): string {
  const lines = text.split("\r\n");
  const a = random.below(lines.length), b = random.below(lines.length);
  [lines[a], lines[b]] = [lines[b]!, lines[a]!];
  return lines.join("\r\n");
}

const POOL = 256;

/** Gives inputs: fresh ones of a grammar, and changed ones of those that were kept. */
export class InputSource {
  readonly #grammar: (random: Random) => string;
  readonly #random: Random;
  readonly #pool: string[] = [];
  #mutated = false;

  /** Makes a source over a grammar. */
  constructor(grammar: (random: Random) => string, random: Random) {
    this.#grammar = grammar;
    this.#random = random;
  }

  /** The next input. */
  next(): string {
    const random = this.#random;
    this.#mutated = random.chance(55);
    if (!this.#mutated) return this.#grammar(random);
    return mutate(this.#base(), this.#base(), random);
  }

  /** Told that the last input was accepted. */
  keep(input: string): void {
    if (!this.#mutated || input.length > 2000) return;
    if (this.#pool.length < POOL) this.#pool.push(input);
    else this.#pool[this.#random.below(POOL)] = input;
  }

  #base(): string {
    const random = this.#random;
    return this.#pool.length > 0 && random.chance(40)
      ? random.pick(this.#pool)
      : this.#grammar(random);
  }
}
