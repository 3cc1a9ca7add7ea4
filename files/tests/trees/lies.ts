/** Invalid responses of a server, each of which rejects the whole download. */

import { hash } from "node:crypto";
import { BUNDLE_END, BUNDLE_TYPE, formatRecord } from "@degu/internal/files/wire/bundle.ts";
import { listText } from "../directory_entries.ts";
import { textContent } from "./text_trees.ts";

/** The type and the body of a response. */
export type Lie = readonly [type: string, ...body: readonly (string | Uint8Array<ArrayBuffer>)[]];

const ENTRY = { kind: "file", size: 1, modified: "2024-05-06T07:08:09.123Z" };
const A = { path: ["a"], ...ENTRY };
const BELOW_A = { path: ["a", "b"], ...ENTRY };
const LIST = "application/json";

const list = (...entries: readonly unknown[]): Lie => [LIST, listText([...entries, { end: true }])];
const pathOf = (...path: unknown[]) => list({ path, ...ENTRY });

/** Makes a record with the content of the file `a`. */
function recordOf(path: string) {
  const content = textContent("a"), { length: size } = content;
  const sha256 = hash("sha256", content), modified = new Date(ENTRY.modified);
  return [formatRecord({ path: [path], status: 200, size, modified, sha256 }), content] as const;
}

const RECORD = recordOf("a");
const bundle = (...body: Lie[1][]): Lie => [BUNDLE_TYPE, ...body];

/** By the query of the request: the code of the error, and the lies. */
export const LIES = {
  tree: {
    code: "BAD_LIST",
    lies: {
      "empty, without its last element": [LIST, listText([])],
      "without its last element": [LIST, listText([A])],
      "a path outside of the target": pathOf("..", "a"),
      "the parent directory": pathOf(".."),
      "a name with a slash": pathOf("a/b"),
      "a name with a NUL": pathOf("a\0"),
      "an empty path": pathOf(),
      "a name that is not a string": pathOf(1),
      "a path that is not an array": list({ path: "a", ...ENTRY }),
      "a path without its directory": list(BELOW_A),
      "a path that is too long": pathOf(...new Array(2100).fill("ab")),
      "a path below a file": list(A, BELOW_A),
      "a path twice": list(A, A),
      "a path below a link": list({ ...A, kind: "other", reason: "link" }, BELOW_A),
    },
  },
  // The requested file is `a`.
  "bundle=get": {
    code: "UNEXPECTED_RESPONSE",
    lies: {
      "another path": bundle(...recordOf("b"), BUNDLE_END),
      "an additional record": bundle(...RECORD, ...RECORD, BUNDLE_END),
      "no record": bundle(BUNDLE_END),
      "no end": bundle(...RECORD),
      "a record without keys": bundle("{}\n", BUNDLE_END),
      "nonsense": bundle("nonsense", BUNDLE_END),
      "another type of content": ["text/plain", ...RECORD, BUNDLE_END],
    },
  },
} as const satisfies Record<string, { code: string; lies: Record<string, Lie> }>;
