/** Entries of directory listings, as they are sent. */

/** Names that are hard on escapes and limits. */
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

/** A list as it is sent: an array of which each element is a line. */
export function listText(elements: readonly unknown[]): string {
  return ["[", elements.map((element) => JSON.stringify(element)).join(",\n"), "]\n"]
    .filter((line) => line !== "").join("\n");
}

/** An entry as it is sent. */
export function entry(fields: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return { name: "a", kind: "file", size: 1, modified: "2024-05-06T07:08:09.123Z", ...fields };
}
