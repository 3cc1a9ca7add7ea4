/** Entries of directory listings, as a server sends them. */

/** Names that test the limits of escaping and length. */
export const NAMES: readonly string[] = [
  "a b.txt",
  "Öl",
  "日本語.txt",
  "😀",
  "-",
  "...",
  "~",
  "%41",
  "a\nb",
  '"\\',
  "x".repeat(255),
];

/** Formats a list as a server sends it: a JSON array with one element in each line. */
export function listText(elements: readonly unknown[]): string {
  return ["[", elements.map((element) => JSON.stringify(element)).join(",\n"), "]\n"]
    .filter((line) => line !== "").join("\n");
}

/** Makes an entry of a list, with defaults for missing fields. */
export function entry(fields: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return { name: "a", kind: "file", size: 1, modified: "2024-05-06T07:08:09.123Z", ...fields };
}
