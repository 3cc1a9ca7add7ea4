/**
 * The responses that a server makes without its app, by an implementation that shares no code with
 * the server. Text is Latin-1, one character per byte.
 */

import { isUnknownCoding, limits } from "@degu/testing/wire_grammar.ts";

const REASONS = {
  400: "Bad Request",
  421: "Misdirected Request",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
};

/** Returns all bytes that a server sends for one of its own responses. */
export function formatErrorResponse(status: keyof typeof REASONS): string {
  return `HTTP/1.1 ${status} ${REASONS[status]}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`;
}

const METHODS = ["GET", "HEAD", "DELETE", "PUT", "POST", "PATCH", "OPTIONS"];

const TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/**
 * Returns the response to an invalid preamble, the last bytes of a client; `""` if the server
 * closes without a response.
 */
export function findErrorResponse(text: string): string {
  const word = text.split(" ", 1)[0]!;
  const isWord = word.length <= 64 && word.length < text.length && word !== "" &&
    Array.from(word).every((letter) => TOKEN.includes(letter));
  if (!isWord) return "";
  const end = text.indexOf("\r\n\r\n");
  const preamble = end < 0 ? text : text.slice(0, end + 4);
  // The first violation decides: a bare CR or LF, or a byte beyond the limit.
  const bareIndex = preamble.search(/\r(?!\n)[^]|(?<!\r)\n/);
  const isTooLong = (end < 0 ? text.length + 1 : preamble.length) > limits.preamble;
  const hasBareLineEnd = bareIndex >= 0 &&
    bareIndex + (text[bareIndex] === "\r" ? 2 : 1) <= limits.preamble;
  if (isTooLong && !hasBareLineEnd) return formatErrorResponse(431);
  if (end < 0 && !hasBareLineEnd) return "";
  const lineEnd = text.search(/[\r\n]/);
  if (text.slice(lineEnd, lineEnd + 2) !== "\r\n") return formatErrorResponse(400);
  const parts = text.slice(0, lineEnd).split(" ");
  if (parts.length !== 3 || parts.includes("")) return formatErrorResponse(400);
  const version = parts[2]!;
  const digits = "0123456789";
  const isVersion = version.length === 8 && version.startsWith("HTTP/") && version[6] === "." &&
    digits.includes(version[5]!) && digits.includes(version[7]!);
  if (!isVersion) return formatErrorResponse(400);
  if (version !== "HTTP/1.1" && version !== "HTTP/1.0") return formatErrorResponse(505);
  const isForServer = word === "OPTIONS" && text.split(" ")[1] === "*";
  return formatErrorResponse(METHODS.includes(word) && !isForServer ? 400 : 501);
}

/**
 * Replacements of what a server on a connection without TLS refuses with another status than 400:
 * the scheme `https`, and an unknown coding before `chunked`.
 */
const OWN_STATUSES = [
  [421, /^([A-Z]+ )https(:\/\/)/i, "$1http$2"],
  [501, /^(transfer-encoding:[ \t]*)(?<value>[^\r\n]*)/im, "$1chunked"],
] as const;

/**
 * Returns the possible responses to an invalid preamble, the last bytes of a client: if it breaks
 * several rules, the response to any of them.
 */
export function findErrorResponses(text: string, isValid: (text: string) => boolean): string[] {
  const response = findErrorResponse(text);
  if (response !== formatErrorResponse(400)) return [response];
  const responses = [response];
  const [preamble = ""] = text.split("\r\n\r\n", 1);
  if (preamble.split("\r\n").length - 1 > limits.headerLines) {
    responses.push(formatErrorResponse(431));
  }
  for (const [status, pattern, replacement] of OWN_STATUSES) {
    const match = pattern.exec(text);
    const value = match?.groups?.["value"];
    if (match === null || (value !== undefined && !isUnknownCoding(value))) continue;
    if (isValid(text.replace(pattern, replacement))) return [formatErrorResponse(status)];
    responses.push(formatErrorResponse(status));
  }
  return responses;
}
