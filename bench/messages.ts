/**
 * The small messages of all peers: the same bodies, and the same headers if the peer's library
 * doesn't add others.
 */

export type MessageKind =
  /** A POST; request and response have a body of `payloadLength` bytes. */
  | "post"
  /** A GET; request and response have twelve headers and no body. */
  | "headers";

export const payloadLength = 108;

/** Twelve headers of a browser or an API client, beside `host`. */
export const requestHeaders: Readonly<Record<string, string>> = {
  "accept": "application/json, text/plain;q=0.9, */*;q=0.8",
  "accept-encoding": "gzip, deflate, br",
  "accept-language": "en-GB,en;q=0.7,de;q=0.3",
  "authorization": "Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJkZXZpY2UtMTcifQ.c2lnbmF0dXJl",
  "cache-control": "no-cache",
  "cookie": "session=0f8b1f6c2d7a4be9; theme=dark",
  "if-modified-since": "Wed, 21 Oct 2026 07:28:00 GMT",
  "if-none-match": '"33a64df551425fcc55e4d42a148795d9f25f89d4"',
  "origin": "https://device-17.example",
  "referer": "https://device-17.example/items/index.html",
  "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
  "x-request-id": "4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
};

/** Twelve headers of an API server, beside those that frame the body. */
export const responseHeaders: Readonly<Record<string, string>> = {
  "accept-ranges": "bytes",
  "age": "17",
  "cache-control": "private, max-age=60",
  "content-language": "en-GB",
  "content-type": "application/json; charset=utf-8",
  "date": "Wed, 21 Oct 2026 07:28:00 GMT",
  "etag": '"33a64df551425fcc55e4d42a148795d9f25f89d4"',
  "expires": "Wed, 21 Oct 2026 07:29:00 GMT",
  "last-modified": "Tue, 20 Oct 2026 19:01:44 GMT",
  "server": "device-17 (example)",
  "vary": "accept-encoding, accept-language",
  "x-request-id": "4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
};

/** The header that client and server check. Requests and responses have the same value. */
export const checkedHeader = "x-request-id";

/** The body of each response of the smallest app. */
export const helloText = "hello, world\n";

/** Makes a body of {@link payloadLength} bytes, which the caller may change. */
export function makePayload(): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: payloadLength }, (_, index) => 33 + (index * 7) % 90);
}

export function checkStatus(status: number | undefined): void {
  if (status !== 200) throw new Error(`expected a response with status 200, not ${status}`);
}

/** Throws unless `value` is the value of {@link checkedHeader}. */
export function checkHeader(value: unknown): void {
  const expected = requestHeaders[checkedHeader];
  if (value !== expected) {
    throw new Error(`expected header ${checkedHeader} to be ${expected}, not ${value}`);
  }
}

export function checkEqual(expected: Uint8Array, actual: Uint8Array): void {
  if (actual.length !== expected.length) {
    throw new Error(`expected a body of ${expected.length} bytes, not ${actual.length}`);
  }
  for (let index = 0; index < expected.length; index++) {
    if (actual[index] !== expected[index]) {
      throw new Error(`the body differs from what was sent at byte ${index}`);
    }
  }
}

/** A message as Degu writes it. `body` is a view of the end of `bytes`. */
export interface RawMessage {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly body: Uint8Array<ArrayBuffer>;
}

export function makeRawRequest(message: MessageKind): RawMessage {
  const host = "127.0.0.1:12345";
  return message === "post"
    ? makeRawMessage(
      "POST / HTTP/1.1",
      { "content-length": `${payloadLength}`, host },
      payloadLength,
    )
    : makeRawMessage("GET / HTTP/1.1", { ...requestHeaders, host });
}

export function makeRawResponse(message: MessageKind): RawMessage {
  return message === "post"
    ? makeRawMessage("HTTP/1.1 200 OK", { "content-length": `${payloadLength}` }, payloadLength)
    : makeRawMessage("HTTP/1.1 200 OK", responseHeaders);
}

/** Makes a message: start line, headers sorted by name, empty line, and space for a body. */
export function makeRawMessage(
  startLine: string,
  headers: Readonly<Record<string, string>>,
  bodyLength = 0,
): RawMessage {
  const lines = Object.keys(headers).sort().map((name) => `${name}: ${headers[name]}`);
  const preamble = new TextEncoder().encode([startLine, ...lines, "", ""].join("\r\n"));
  const bytes = new Uint8Array(preamble.length + bodyLength);
  bytes.set(preamble);
  return { bytes, body: bytes.subarray(preamble.length) };
}
