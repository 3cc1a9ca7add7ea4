/** The messages that the pages of troubleshooting explain are those of the code. */
import { assert, assertEquals } from "@std/assert";
import { listLibraryFiles, readCode, readProjectFile } from "@degu/testing/tree.ts";

/**
 * Where a message is put together from parts: what differs from case to case, a label in front, a
 * rule that several messages share, numbers, and what is quoted.
 */
const JOINTS =
  /…|^[\w.[\]]+: |\bmust be(?: null)?\b|; got\b|'s certificate |\ballowed in |\berror of |, which |\d+|"[^"]*"/;
/** Messages of Deno and its TLS library, which are not in the source files. */
const FOREIGN = /\(Deno\)|^received fatal alert|^received corrupt message|is not defined$/;

Deno.test("every message that a page explains is in the code", async () => {
  const code = (await Promise.all(
    (await listLibraryFiles()).map(async (path) => textOf(await readCode(path))),
  ))
    .join("\n");
  const messages = explainedMessages(
    await readProjectFile("docs/troubleshooting.md") +
      await readProjectFile("agent/docs/troubleshooting.md"),
  );
  assert(messages.length > 80, `${messages.length} messages`);
  const missing = messages.flatMap((message) =>
    partsOf(message).filter((part) => !code.includes(part)).map((part) => `${message}: ${part}`)
  );
  assertEquals(missing, []);
});

/** The messages in the first cells of the tables' rows. */
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

/** The source with its string literals joined, and gaps in place of what templates insert. */
function textOf(source: string): string {
  let text = source;
  for (let previous = ""; previous !== text;) {
    previous = text;
    text = text.replaceAll(/\$\{[^{}`]*\}/g, "…");
    text = text.replaceAll(/\$\{[^{}]*?`[^`{}]*`[^{}]*?\}/g, "…");
  }
  return text.replaceAll(/["`]\s*\+\s*["`]/g, "").replaceAll('\\"', '"');
}
