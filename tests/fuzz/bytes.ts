/**
 * Latin-1 text to bytes and back, without a call per character.
 *
 * @module
 */

const scratch = new Uint8Array(1 << 20);

/** The bytes of a Latin-1 text, in a buffer that the next call overwrites. */
export function view(text: string): Uint8Array {
  const { length } = text;
  if (length > scratch.length) throw new RangeError(`a text of ${length} characters`);
  for (let i = 0; i < length; i++) scratch[i] = text.charCodeAt(i);
  return scratch.subarray(0, length);
}

/** The bytes of a Latin-1 text. */
export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return view(text).slice() as Uint8Array<ArrayBuffer>;
}

/** The inverse of {@linkcode bytesOf}. */
export function textOf(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) text += String.fromCharCode(bytes[i]!);
  return text;
}

/** The text as a literal that stands for it in a program, whatever its bytes. */
export function literal(text: string): string {
  let quoted = "";
  for (const character of text) {
    const code = character.charCodeAt(0);
    if (character === "\r") quoted += "\\r";
    else if (character === "\n") quoted += "\\n";
    else if (character === '"' || character === "\\") quoted += `\\${character}`;
    else if (code >= 0x20 && code < 0x7f) quoted += character;
    else quoted += `\\x${code.toString(16).padStart(2, "0")}`;
  }
  return `"${quoted}"`;
}
