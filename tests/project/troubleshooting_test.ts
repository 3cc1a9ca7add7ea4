/** The messages that pages explain are in the code. */
import { assert, assertEquals } from "@std/assert";
import { listLibraryFiles, readCode, readProjectFile } from "@degu/testing/tree.ts";

/**
 * Splits a message where the code composes it: at variable values, a label at the start, a rule
 * that several messages share, numbers, and quoted text.
 */
const JOINTS =
  /…|^[\w.[\]]+: |\bmust be(?: null)?\b|; got\b|'s certificate |\ballowed in |\berror of |, which |\d+|"[^"]*"/;
/** Messages of Deno and its TLS library, which are not in the source files. */
const FOREIGN = /\(Deno\)|^received fatal alert|^received corrupt message|is not defined$/;

Deno.test("every message that a page explains is in the code", async () => {
  const reading = (await listLibraryFiles()).map(async (path) => textOf(await readCode(path)));
  const code = (await Promise.all(reading)).join("\n");
  const paths = ["docs/troubleshooting.md", "files/docs/files.md", "agent/docs/troubleshooting.md"];
  const messages = explainedMessages((await Promise.all(paths.map(readProjectFile))).join(""));
  assert(messages.length > 50, `${messages.length} messages`);
  const missing = messages.flatMap((message) =>
    partsOf(message).filter((part) => !code.includes(part)).map((part) => `${message}: ${part}`)
  );
  assertEquals(missing, []);
});

/** Returns the messages in the first cells of the tables' rows. */
function explainedMessages(page: string): string[] {
  const rows = page.matchAll(/^\| ([^|]*`[^|]*?) +\|/gm);
  return [...rows].flatMap(([, cell = ""]) =>
    FOREIGN.test(cell) ? [] : [...cell.matchAll(/`([^`]+)`/g)].map(([, message = ""]) => message)
  ).filter((message) => !FOREIGN.test(message));
}

/** Returns the constant parts of a message. */
function partsOf(message: string): string[] {
  return message.split(JOINTS).map((part) => part.replace(/^[\s;,.:")\]]+|[\s;,.:"([]+$/g, ""))
    .filter((part) => /\w{3}/.test(part));
}

/**
 * Returns the source with its string literals joined, and gaps in place of template expressions.
 */
function textOf(source: string): string {
  let text = source;
  for (let previous = ""; previous !== text;) {
    previous = text;
    text = text.replaceAll(/\$\{[^{}`]*\}/g, "…");
    text = text.replaceAll(/\$\{[^{}]*?`[^`{}]*`[^{}]*?\}/g, "…");
  }
  return text.replaceAll(/["`]\s*\+\s*["`]/g, "").replaceAll('\\"', '"');
}
