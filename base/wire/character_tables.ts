const DIGITS = "0123456789";
const UPPER_CASE = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER_CASE = "abcdefghijklmnopqrstuvwxyz";
const ALPHANUMERIC = DIGITS + UPPER_CASE + LOWER_CASE;

const TOKEN_SYMBOLS = "!#$%&'*+-.^_`|~";

function makeTable(allowed: string, minOtherByte = 256): Uint8Array {
  const table = new Uint8Array(256).fill(1, minOtherByte);
  for (let i = 0; i < allowed.length; i++) table[allowed.charCodeAt(i)] = 1;
  return table;
}

/** Methods and names of headers (RFC 9110 §5.6.2, token). */
export const TOKEN_TABLE: Uint8Array = makeTable(ALPHANUMERIC + TOKEN_SYMBOLS);
/** The names of headers to send. */
export const LOWER_CASE_NAME_TABLE: Uint8Array = makeTable(DIGITS + LOWER_CASE + TOKEN_SYMBOLS);
const TEXT = ALPHANUMERIC + "\t !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
/** The ASCII characters of header values and of reasons. */
export const ASCII_TEXT_TABLE: Uint8Array = makeTable(TEXT);
/** Header values and reasons (RFC 9110 §5.5, RFC 9112 §4), including obs-text. */
export const TEXT_TABLE: Uint8Array = makeTable(TEXT, 0x80);
/** Request targets (RFC 9112 §3.2, origin-form only), and queries: visible ASCII except `#`. */
export const URI_TABLE: Uint8Array = makeTable(
  ALPHANUMERIC + "!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
);
/** Components of a path, besides escapes: all that `new URL()` and `curl -g` leave literal. */
export const PATH_TABLE: Uint8Array = makeTable(ALPHANUMERIC + "!$&'()*+,-.:;=@[]^_{|}~");
/** The characters of a component that this package doesn't escape. */
export const UNESCAPED_TABLE: Uint8Array = makeTable(ALPHANUMERIC + "-+.:_~");

export function allows(table: Uint8Array, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    // For a code above 255, the entry is `undefined`.
    if (table[text.charCodeAt(i)] !== 1) return false;
  }
  return true;
}

/** Reports whether a text can be the value of a header, from which readers remove white space. */
export function isHeaderValue(text: string): boolean {
  return allows(TEXT_TABLE, text) && trimWhitespace(text) === text;
}

/** Removes spaces and tabs, and no other characters (RFC 9110 §5.6.3). */
export function trimWhitespace(text: string): string {
  return text.replace(/^[ \t]+/, "").replace(/(?<![ \t])[ \t]+$/, "");
}
