/** Inputs as bytes, and as they are shown. */

const scratch = new Uint8Array(1 << 20);

/** The bytes of a Latin-1 text, in a buffer that the next call overwrites. */
export function view(text: string): Uint8Array {
  const { length } = text;
  if (length > scratch.length) throw new RangeError(`a text of ${length} characters`);
  for (let i = 0; i < length; i++) scratch[i] = text.charCodeAt(i);
  return scratch.subarray(0, length);
}

/** The text as a literal that stands for it in a program, whatever its bytes. */
export function literal(text: string): string {
  return JSON.stringify(text).replaceAll(
    /[\x7f-\xff]/g,
    (character) => `\\x${character.charCodeAt(0).toString(16)}`,
  );
}
