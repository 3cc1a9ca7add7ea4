/**
 * The contract of the four body classes as rows: the bytes that each writes, its valid and its
 * invalid sources. docs/bodies.md, "States of a body"; RFC 9112 §6.2 (known length), §7.1
 * (chunked).
 */

import { Body, BodyIter, type Chunk, ChunkedBody, ChunkedBodyIter } from "@degu/degu/base";
import {
  cutBytes,
  PieceSource,
  streamOf,
  TrackedItems,
  TrackedStream,
} from "@degu/testing/streams.ts";
import { encodeLatin1, limits } from "@degu/testing/wire_grammar.ts";

export type AnyBody = Body | BodyIter | ChunkedBody | ChunkedBodyIter;

/** A source of given items that records how it ended. */
interface Tracked {
  readonly source: unknown;
  /** Whether the source was read to its end. */
  readonly hasEnded: boolean;
  /** Whether the source was canceled, or its iterator closed. */
  readonly isCanceled: boolean;
}

/** Makes a tracked source of items: a stream, a synchronous or an asynchronous iterable. */
type Track = (
  items: readonly unknown[],
  options?: { onPull?: (index: number) => void; failure?: unknown },
) => Tracked;

const trackStream: Track = (items, options) => {
  const tracked = new TrackedStream(items, options);
  return Object.assign(tracked, { source: tracked.stream });
};

const makeIterableTrack = (kind: "sync" | "async"): Track => (items, options) => {
  const tracked = new TrackedItems(items, options);
  return Object.assign(tracked, {
    source: kind === "sync" ? tracked.toIterable() : tracked.toAsyncIterable(),
  });
};

/** An invalid source: the rule that it breaks, its items, and how the body fails. */
interface Fault {
  readonly rule: string;
  readonly items: readonly unknown[];
  /**
   * "cut short": a `BodyError` or BODY_INCOMPLETE; "no item": `TypeError` or `BodyError`, before a
   * byte was written.
   */
  readonly fails: "BodyError" | "cut short" | "no item" | "ProtocolError";
}

/** A body of one of the four classes. */
export interface BodyRow {
  readonly name: string;
  readonly chunked: boolean;
  /** The items of a valid source. */
  readonly items: readonly unknown[];
  /** The bytes that the body writes. */
  readonly written: string;
  /** Makes a body with the length of the valid source. */
  make(source: unknown): AnyBody;
  /** The kinds of tracked sources that the class accepts. */
  readonly tracks: Readonly<Record<string, Track>>;
  /** All other valid sources of the body. */
  readonly sources: Readonly<Record<string, () => unknown>>;
  /** Values that are not sources. */
  readonly refused: readonly unknown[];
  readonly faults: readonly Fault[];
}

export const DIGITS: Uint8Array<ArrayBuffer> = encodeLatin1("1234567890");
const END: Chunk = [null, new Uint8Array(0)];
const CHUNKS: readonly Chunk[] = [
  [null, encodeLatin1("123")],
  [["k", "v"], encodeLatin1("4567")],
  [null, encodeLatin1("890")],
  [["e", "1"], END[1]],
];
/** An encoded chunked body. */
const ENCODED = "3\r\n123\r\n4;k=v\r\n4567\r\n3\r\n890\r\n0;e=1\r\n\r\n";

const iterables = {
  "an iterable": makeIterableTrack("sync"),
  "an async iterable": makeIterableTrack("async"),
};

/** Returns every kind of iterable over the items. */
function makeIterables<T>(items: readonly T[]): Record<string, () => unknown> {
  return {
    "an array": () => items,
    "a generator": function* () {
      yield* items;
    },
    "an asynchronous generator": async function* () {
      yield* items;
    },
    "an iterator without return": () => ({
      [Symbol.iterator]() {
        let index = 0;
        return { next: () => ({ done: index === items.length, value: items[index++] }) };
      },
    }),
    "a stream": () => streamOf(...items),
    "an object that can be iterated both ways": () => ({
      ...new TrackedItems(items).toAsyncIterable(),
      ...new TrackedItems([encodeLatin1("wrong")]).toIterable(),
    }),
  };
}

const nonSources = [null, undefined, 5, {}, { read: 5 }, "0\r\n\r\n", new Blob(["a"]), [DIGITS]];
const nonIterables = [null, undefined, 5, {}, true, { [Symbol.iterator]: 5 }, () => []];
const nonBytes = ["12345", 5, [1, 2], null, new ArrayBuffer(5), new Uint16Array(5), {}];
const nonChunks = [
  ...["123", 5, null, {}, DIGITS, [], [null], [DIGITS], [null, "123"], [null, null]],
  ...[[undefined, DIGITS], ["k=v", DIGITS], [["k"], DIGITS], [["k", 5], DIGITS]],
  ...[[{ k: "v" }, DIGITS], [null, new ArrayBuffer(3)], [null, new Uint16Array(3)]],
];

const encodeItems = (...items: string[]) => items.map(encodeLatin1);

/** Makes rows of invalid sources that fail in the same way, by the rules that they break. */
const makeFaults = (fails: Fault["fails"], rows: Record<string, readonly unknown[]>): Fault[] =>
  Object.entries(rows).map(([rule, items]) => ({ rule, items, fails }));

const makeItemFaults = (label: string, items: readonly unknown[], ...more: unknown[]): Fault[] =>
  items.map((item) => ({
    ...{ rule: `an item that is no ${label}: ${Deno.inspect(item)}`, items: [item, ...more] },
    fails: "no item",
  }));

/** Invalid items of a body of ten bytes. */
const lengthFaults: readonly Fault[] = [
  ...makeFaults("BodyError", {
    "a last item with an additional byte": encodeItems("12345", "678901"),
    "an additional item": encodeItems("12345", "67890", "1"),
    "an additional item after small items": [...cutBytes(DIGITS, 1), DIGITS],
    "one item that is too long": encodeItems("12345678901"),
    "an endless source": Array(1000).fill(DIGITS),
  }),
  ...makeFaults("cut short", {
    "no bytes": [],
    "a byte too few": encodeItems("123456789"),
    "a byte too few, in single bytes": cutBytes(encodeLatin1("123456789"), 1),
  }),
  ...makeItemFaults("bytes", nonBytes),
];

/** Invalid encoded chunks. */
const codingFaults: readonly Fault[] = [
  ...makeFaults("BodyError", {
    "a byte after the end": encodeItems("3\r\n123\r\n", "0\r\n\r\n", "X"),
    "a byte after the end, in its item": encodeItems("0\r\n\r\nX"),
    "a second last chunk": encodeItems("3\r\n123\r\n0\r\n\r\n0\r\n\r\n"),
    "a chunk after the end": encodeItems("3\r\n123\r\n", "0\r\n\r\n", "3\r\n123\r\n"),
  }),
  ...makeFaults("cut short", {
    "no bytes": [],
    "no last chunk": encodeItems("3\r\n123\r\n", "3\r\n123\r\n"),
    "a part of the last chunk": encodeItems("3\r\n123\r\n", "0\r\n\r"),
    "no end of the trailers": encodeItems("3\r\n123\r\n", "0\r\na: b\r\n"),
    "a part of a trailer": encodeItems("3\r\n123\r\n", "0\r\na: "),
  }),
  ...makeFaults("ProtocolError", {
    "an invalid trailer": encodeItems("0\r\na : b\r\n\r\n"),
    "a quoted extension without an end": encodeItems('3;a="b\r\n123\r\n0\r\n\r\n'),
  }),
  ...makeItemFaults("bytes", nonBytes),
];

const data = encodeLatin1("123");

const chunkFaults: readonly Fault[] = [
  ...makeFaults("BodyError", {
    "no chunks": [],
    "no last chunk": [[null, data]],
    "a chunk after the last chunk": [[null, data], END, [null, data]],
    "two last chunks": [[null, data], END, END],
    "an empty chunk before others": [END, [null, data], END],
    "a chunk above 16 MiB": [[null, new Uint8Array(limits.chunkData + 1)], END],
    "an extension that forges a line": [[["k", "v\r\nevil: 1"], data], END],
    "an extension with an empty key": [[["", "v"], data], END],
    "an extension of the last chunk with an empty value": [[null, data], [["k", ""], END[1]]],
    "an extension above the limit of a chunk line": [[["k", "v".repeat(4096)], data], END],
  }),
  ...makeItemFaults("chunk", nonChunks, END),
];

export const bodyRows: readonly BodyRow[] = [
  {
    name: "Body",
    chunked: false,
    items: cutBytes(DIGITS, 3),
    written: "1234567890",
    make: (source) => Reflect.construct(Body, [source, 10]),
    tracks: { "a stream": trackStream },
    sources: {
      "a byte source": () => new PieceSource(cutBytes(DIGITS, 4, 1)),
      "a stream with empty items": () =>
        streamOf(...encodeItems("", "12", "", "", "345", "67890", "")),
      "a Blob": () => new Blob([DIGITS]).stream(),
      "a decompressed stream": () =>
        new Blob([DIGITS]).stream().pipeThrough(new CompressionStream("gzip"))
          .pipeThrough(new DecompressionStream("gzip")),
      "one of two streams": () => streamOf(DIGITS).tee()[0],
      "a byte stream": () =>
        new ReadableStream({
          type: "bytes",
          start(controller) {
            controller.enqueue(DIGITS.slice());
            controller.close();
          },
        }),
      "another body": () => new Body(new PieceSource([DIGITS]), 10).readable,
    },
    refused: nonSources,
    faults: lengthFaults,
  },
  {
    name: "BodyIter",
    chunked: false,
    items: cutBytes(DIGITS, 3),
    written: "1234567890",
    make: (source) => Reflect.construct(BodyIter, [source, 10]),
    tracks: iterables,
    sources: {
      ...makeIterables(cutBytes(DIGITS, 3)),
      "items, some of them empty": () => encodeItems("", "12", "", "345", "67890", ""),
    },
    refused: [...nonIterables, "1234567890"],
    faults: lengthFaults,
  },
  {
    name: "ChunkedBody",
    chunked: true,
    items: cutBytes(encodeLatin1(ENCODED), 5),
    written: ENCODED,
    make: (source) => Reflect.construct(ChunkedBody, [source]),
    tracks: { "a stream": trackStream },
    sources: {
      "a byte source": () => new PieceSource(cutBytes(encodeLatin1(ENCODED), 1)),
      "a stream of one item": () => streamOf(encodeLatin1(ENCODED)),
    },
    refused: nonSources,
    faults: codingFaults,
  },
  {
    name: "ChunkedBodyIter",
    chunked: true,
    items: CHUNKS,
    written: ENCODED,
    make: (source) => Reflect.construct(ChunkedBodyIter, [source]),
    tracks: iterables,
    sources: {
      ...makeIterables(CHUNKS),
      "a chunked body": () => new ChunkedBody(streamOf(encodeLatin1(ENCODED))),
    },
    refused: [...nonIterables, "text"],
    faults: chunkFaults,
  },
];
