const MAX_QUOTED_LENGTH = 64;
const MAX_SEARCHED_BYTES = 4096;

/** Credentials in a header line, a password in a URL or before a host, a key in PEM. */
const SECRET_TEXT = /(authorization|cookie)[^a-z-]|\/\/[^/]*@|^[^:]*:[^@]*@|-----BEGIN/i;

/** Hides text that looks like a secret, because logs store messages. */
export function quote(value: string | Uint8Array): string {
  const searchedText = typeof value === "string"
    ? value
    : String.fromCharCode(...value.subarray(0, MAX_SEARCHED_BYTES));
  return SECRET_TEXT.test(searchedText)
    ? `text that is not shown, ${value.length} in all`
    : quoteName(value);
}

/** Quotes a host or a URL. The text before an at sign may be a password. */
export function quoteHost(text: string): string {
  return text.includes("@")
    ? "text that is not shown, because it may hold a password"
    : quote(text);
}

/** Quotes the name or the path of a file or of a device, which can look like a secret. */
export function quoteName(value: string | Uint8Array): string {
  const isTruncated = value.length > MAX_QUOTED_LENGTH;
  let quoted = '"';
  for (let i = 0; i < Math.min(value.length, MAX_QUOTED_LENGTH); i++) {
    const code = typeof value === "string" ? value.charCodeAt(i) : value[i]!;
    quoted += quoteCode(code);
  }
  return isTruncated ? `${quoted}"… (${value.length} in all)` : `${quoted}"`;
}

function quoteCode(code: number): string {
  if (code === 0x0d) return "\\r";
  if (code === 0x0a) return "\\n";
  if (code === 0x22 || code === 0x5c) return "\\" + String.fromCharCode(code);
  if (code >= 0x20 && code < 0x7f) return String.fromCharCode(code);
  const digits = code.toString(16);
  return code > 0xff ? `\\u${digits.padStart(4, "0")}` : `\\x${digits.padStart(2, "0")}`;
}

export function typeNameOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value !== "object") return typeof value;
  const name = (value as { constructor?: { name?: unknown } }).constructor?.name;
  return typeof name === "string" && name !== "" ? name : "object";
}
