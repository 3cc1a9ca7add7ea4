/** Stands in for `@std/streams` if JSR is unreachable. */

export async function toText(stream: ReadableStream): Promise<string> {
  return await new Response(stream).text();
}

export async function toArrayBuffer(stream: ReadableStream<Uint8Array>): Promise<ArrayBuffer> {
  return await new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer();
}

/** Passes the lines of a text on, without their ends. */
export class TextLineStream extends TransformStream<string, string> {
  constructor() {
    let remainder = "";
    super({
      transform(text, controller) {
        const lines = (remainder + text).split(/\r?\n/);
        remainder = lines.pop()!;
        for (const line of lines) controller.enqueue(line);
      },
      flush(controller) {
        if (remainder !== "") controller.enqueue(remainder);
      },
    });
  }
}
