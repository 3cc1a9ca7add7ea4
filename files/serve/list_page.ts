import { type HeadersToSend, printable } from "../../base.ts";
import type { DirectoryEntry } from "../wire/entries.ts";
import { fileUri } from "../wire/file_name.ts";

/** Times and sizes are in this column, if the name leaves space, like in the lists of nginx. */
const NAME_CHARACTERS = 51;
const SIZE_CHARACTERS = 20;

const JSON_TYPE = /^application\/json *(?:;|$)/i;
const REFUSING_WEIGHT = /; *q=0(?:\.0*)? *(?:;|$)/i;

/** Reports whether `accept` (RFC 9110 §12.5.1) names JSON, which browsers don't. */
export function isJsonAccepted({ accept }: HeadersToSend): boolean {
  return typeof accept === "string" && accept.split(",").some((range) => {
    return JSON_TYPE.test(range.trim()) && !REFUSING_WEIGHT.test(range);
  });
}

/** Returns the page up to its entries, with a link to the parent unless this is the root. */
export function formatPageStart(mount: readonly string[], names: readonly string[]): string {
  const title = escapeText(`/${[...mount, ...names, ""].join("/")}`);
  const parent = names.length === 0 ? "" : '\n<a href="../">../</a>';
  return `<!doctype html>\n<html><head><meta charset="utf-8">` +
    `<meta name="viewport" content="width=device-width"><title>${title}</title></head>\n` +
    `<body><h1>${title}</h1><pre>${parent}`;
}

export const PAGE_END = "\n</pre></body></html>\n";

/** Formats an entry as a line with a link, its time and its size; programs read these lines. */
export function formatPageLine({ name, kind, size, modified, reason }: DirectoryEntry): string {
  const shownName = kind === "directory" ? `${name}/` : name;
  const padding = " ".repeat(Math.max(1, NAME_CHARACTERS - shownName.length));
  const shownSize = kind === "file" ? `${size}` : kind === "directory" ? "-" : reason!;
  const time = modified.toISOString().slice(0, 16).replace("T", " ");
  const columns = `${padding}${time}${shownSize.padStart(SIZE_CHARACTERS)}`;
  if (kind === "other") return `${escapeText(name)}${columns}`;
  // Without the escape, a browser would take the name `a:b` for a scheme.
  const path = fileUri(name, ...kind === "directory" ? [""] : []).slice(1).replaceAll(":", "%3A");
  return `<a href="${escapeText(path)}">${escapeText(shownName)}</a>${columns}`;
}

const ESCAPES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", '"': "&quot;" };

function escapeText(text: string): string {
  return printable(text).replace(/[&<"]/g, (character) => ESCAPES[character]!);
}
