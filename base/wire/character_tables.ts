const DIGITS = "0123456789";
const UPPER_CASE = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER_CASE = "abcdefghijklmnopqrstuvwxyz";
const ALPHANUMERIC = DIGITS + UPPER_CASE + LOWER_CASE;

function makeTable(allowed: string): Uint8Array {
  const table = new Uint8Array(256);
  for (let i = 0; i < allowed.length; i++) table[allowed.charCodeAt(i)] = 1;
  return table;
}

/** Methods, also those that Degu doesn't support (RFC 9110 §5.6.2, token). */
export const TOKEN_TABLE: Uint8Array = makeTable(ALPHANUMERIC + "!#$%&'*+-.^_`|~");
/** Header names as they arrive: RFC 9110 §5.1 tokens, restricted to letters, digits and `-`. */
export const HEADER_NAME_TABLE: Uint8Array = makeTable(ALPHANUMERIC + "-");
export const LOWER_CASE_NAME_TABLE: Uint8Array = makeTable(DIGITS + LOWER_CASE + "-");
/** Header values (RFC 9110 §5.5, without tabs and obs-text). */
export const HEADER_VALUE_TABLE: Uint8Array = makeTable(
  ALPHANUMERIC + " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
);
/** Request targets (RFC 9112 §3.2, origin-form only), and queries: visible ASCII except `#`. */
export const URI_TABLE: Uint8Array = makeTable(
  ALPHANUMERIC + "!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
);
/** Components of a path, besides escapes: all that `new URL()` and `curl -g` leave literal. */
export const PATH_TABLE: Uint8Array = makeTable(ALPHANUMERIC + "!$&'()*+,-.:;=@[]^_{|}~");
/** The characters of a component that this package doesn't escape. */
export const UNESCAPED_TABLE: Uint8Array = makeTable(ALPHANUMERIC + "-+.:_~");
export const REASON_TABLE: Uint8Array = makeTable(ALPHANUMERIC + "- ");
/** Keys of chunk extensions (RFC 9112 §7.1.1). */
export const EXTENSION_KEY_TABLE: Uint8Array = makeTable(ALPHANUMERIC + "-");
export const EXTENSION_VALUE_TABLE: Uint8Array = makeTable(ALPHANUMERIC + "-+.:_~\"'()*,;<>[]");

export function allows(table: Uint8Array, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    // For a code above 255, the entry is `undefined`.
    if (table[text.charCodeAt(i)] !== 1) return false;
  }
  return true;
}

/**
 * Reports whether a text can be the value of a header. Spaces at its ends would be trimmed by
 * another reader of the message, such as a proxy, which would then see another value.
 */
export function isHeaderValue(text: string): boolean {
  return text !== "" && allows(HEADER_VALUE_TABLE, text) && text.trim() === text;
}
