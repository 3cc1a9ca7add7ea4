/** Digests in headers. */

import {
  formatReprDigest,
  isDigestRequested,
  parseReprDigest,
} from "@degu/internal/files/wire/digest.ts";
import { Buffer } from "node:buffer";
import { demand, type Fuzzer, type Outcome } from "./fuzzer.ts";
import type { Random } from "./random.ts";

/**
 * Returns the value of a parser; `null` if the parser throws a RangeError. Other errors are
 * rethrown.
 */
function parseOrNull<T>(parse: () => T): T | null {
  try {
    return parse();
  } catch (error) {
    demand(error instanceof RangeError, `threw ${error} in place of a RangeError`);
    return null;
  }
}

/**
 * Reads the SHA-256 of a dictionary of digests by another algorithm than the library's; `undefined`
 * if the text is invalid.
 */
function readDigests(value: string): string | null | undefined {
  const member = "[a-z*][a-z0-9_.*-]*=:[A-Za-z0-9+/]*={0,2}:";
  if (!new RegExp(`^ *${member}(?: *, *${member})* *$`).test(value)) return undefined;
  const texts = value.split(",").map((text) => text.trim()).filter((text) =>
    /^sha-256=/.test(text)
  );
  if (texts.length === 0) return null;
  const base64 = texts[0]!.slice("sha-256=:".length, -1);
  const bytes = Buffer.from(base64, "base64");
  const isValid = texts.length === 1 && bytes.length === 32 && bytes.toString("base64") === base64;
  return isValid ? bytes.toString("hex") : undefined;
}

/** Members of `repr-digest` and `want-repr-digest`. */
export function makeDictionary(random: Random): string {
  const members = Array.from({ length: 1 + random.below(3) }, () => {
    const key = random.pick(["sha-256", "sha-256", "sha-512", "md5", "x.y*", "SHA-256"]);
    const length = random.pick([32, 32, 32, 64, 0, 1, 31]);
    const bytes = Buffer.from(Array.from({ length }, () => random.below(256)));
    const base64 = random.chance(90) ? bytes.toString("base64") : random.text("Aa0+/=", 0, 6);
    return random.chance(10) ? `${key}=${random.below(12)}` : `${key}=:${base64}:`;
  });
  return members.join(random.pick([", ", ",", " , "]));
}

/** `parseReprDigest`, `formatReprDigest` and `isDigestRequested`. */
export const digests: Fuzzer = {
  name: "digest",
  grammar: makeDictionary,
  check(input): Outcome {
    let parsed: string | null | undefined;
    const formatted = parseOrNull(() => {
      parsed = parseReprDigest(input);
      return true;
    }) === null;
    const expected = readDigests(input);
    demand(
      formatted === (expected === undefined),
      formatted ? "refused a dictionary" : "accepted another text",
    );
    const isRequested = isDigestRequested({ "want-repr-digest": input });
    demand(!isRequested || typeof parsed !== "string", "is a digest and a wish for one");
    if (formatted) return "rejected";
    demand(parsed === expected, "another digest");
    if (typeof parsed === "string") {
      demand(parseReprDigest(formatReprDigest(parsed)) === parsed, "came back as another digest");
    }
    return "accepted";
  },
};
