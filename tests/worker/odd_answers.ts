/** Answers of apps that can't be sent, or hardly so. */
import { Body, BodyIter, ChunkedBodyIter, ContentRange } from "@degu/degu/base";

const stream = (text: string) => new Blob([text]).stream();

export const oddAnswers: Readonly<Record<string, () => unknown>> = {
  // Headers that are a `ContentRange` in received messages.
  rangeText: () => [206, "Partial", { "content-range": "bytes 0-1/5" }, "ab"],
  rangeTextOf200: () => [200, "OK", { "content-range": "bytes 0-99/26" }, "ab"],
  rangeTextOf416: () => [416, "Bad Range", { "content-range": "bytes */5" }, null],
  rangeNull: () => [206, "Partial", { "content-range": null }, "ab"],
  rangeObject: () => [206, "Partial", { "content-range": {} }, "ab"],
  rangeNumber: () => [404, "Not Found", { "content-range": 5 }, null],
  rangeOfOtherLength: () => [206, "Partial", { "content-range": new ContentRange(0, 9, 10) }, "ab"],
  // Bodies without a body, and lengths that are wrong.
  lengthOf204: () => [204, "No Content", { "content-length": 5 }, null],
  bodyOf204: () => [204, "No Content", {}, "ab"],
  lengthOf304: () => [304, "Not Modified", { "content-length": 5 }, null],
  bodyOf304: () => [304, "Not Modified", {}, "ab"],
  wrongLength: () => [200, "OK", { "content-length": 5 }, "ab"],
  textLength: () => [200, "OK", { "content-length": "2" }, "ab"],
  codingOfText: () => [200, "OK", { "transfer-encoding": "chunked" }, "ab"],
  shortBody: () => [200, "OK", {}, new BodyIter([new Uint8Array(2)], 5)],
  longBody: () => [200, "OK", {}, new BodyIter([new Uint8Array(9)], 5)],
  emptyStream: () => [200, "OK", {}, new Body(stream(""), 0)],
  noLastChunk: () => [200, "OK", {}, new ChunkedBodyIter([[null, new Uint8Array(2)]])],
  usedStream: () => {
    const body = stream("ab");
    body.getReader();
    return [200, "OK", {}, body];
  },
  // Status lines.
  status0: () => [0, "Zero", {}, null],
  status100: () => [100, "Continue", {}, null],
  status101: () => [101, "Switching", { upgrade: "x" }, null],
  status600: () => [600, "Six", {}, null],
  statusText: () => ["200", "OK", {}, null],
  lineInReason: () => [200, "OK\r\nx-a: b", {}, null],
  emptyReason: () => [200, "", {}, null],
  longReason: () => [200, "x".repeat(70000), {}, null],
  // Headers.
  close: () => [200, "OK", { connection: "close" }, "ab"],
  keepAlive: () => [200, "OK", { connection: "keep-alive", "keep-alive": "timeout=5" }, "ab"],
  upgrade: () => [200, "OK", { connection: "upgrade", upgrade: "h2c" }, "ab"],
  namesLength: () => [200, "OK", { connection: "content-length, x-a", "x-a": "b" }, "ab"],
  underscore: () => [200, "OK", { x_a: "b" }, "ab"],
  lineInHeader: () => [200, "OK", { "x-a": "b\r\nx-c: d" }, null],
  bigHeaders: () => [200, "OK", { "x-a": "b".repeat(70000) }, null],
  manyCookies: () => [200, "OK", { "set-cookie": ["a=b", "c=d"] }, null],
  headersArray: () => [200, "OK", [], null],
  headersNull: () => [200, "OK", null, null],
  // Values that aren't a response.
  undefined: () => undefined,
  null: () => null,
  number: () => 5,
  function: () => () => {},
  emptyArray: () => [],
  longArray: () => [200, "OK", {}, null, null],
  bodyObject: () => [200, "OK", {}, { text: "ab" }],
  never: () => {
    throw undefined;
  },
  thrownObject: () => {
    throw {
      toString: () => 5,
      get message() {
        throw 6;
      },
    };
  },
  getter: () => ({
    get status() {
      throw new Error("a getter");
    },
  }),
};
