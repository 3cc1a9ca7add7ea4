/** Changes of base/ that no test can detect, for `deno task mutate`: see tools/mutants.ts. */

import type { EquivalentMutants } from "../../tools/mutants.ts";

export const EQUIVALENT_MUTANTS: EquivalentMutants = {
  "base/body/body.ts": {
    "checkContentLength": [
      [
        "!Number.isSafeInteger(contentLength) || contentLength < 0",
        "true",
        "checkInteger() decides, more slowly",
      ],
      ["contentLength < 0", "contentLength <= 0", "checkInteger() decides, more slowly"],
      ["contentLength < 0", "contentLength < 1", "checkInteger() decides, more slowly"],
    ],
    "Body.writeTo": [
      [
        "keepsBytes ? piece.slice() : piece",
        "true ? piece.slice() : piece",
        "a copy does as well, and costs more",
      ],
      ["keepsBytes || buffer.length < wanted", "true", "a new buffer does as well, and costs more"],
    ],
  },
  "base/body/body_iter.ts": {
    "BodyIter.writeTo": [
      ["out.keepsBytes", "true", "a copy does as well, and costs more"],
    ],
  },
  "base/body/body_source.ts": {
    "StreamSource.isShared": [
      ["false", "true", "a second check passes, and costs more, as smaller reads do"],
    ],
  },
  "base/body/body_state.ts": {
    "BodyState.endIteration": [
      ["!this.isConsumed", "true", "a consumed body is not canceled, but the error would be made"],
    ],
    "BodyState.stream": [
      ["Math.max(1, size)", "Math.max(2, size)", "nothing is pulled from an empty stream"],
    ],
  },
  "base/body/byte_io.ts": {
    "notWritten": [
      ["written > length", "written >= length", "as many as there were have been dealt with"],
    ],
    "ByteReader.room": [
      ["this.end = 0", "this.end = 1", "start and end stay equal, so nothing is buffered"],
      [
        "} else if (this.end === length) {",
        "} else if (true) {",
        "to move the bytes earlier costs more",
      ],
    ],
    "ByteReader.#roomBehind": [
      [
        "length > this.#usual",
        "length >= this.#usual",
        "a new buffer does as well, and costs more",
      ],
      [
        "this.end === length || length > this.#usual",
        "true",
        "a new buffer does as well, and costs more",
      ],
    ],
    "ByteReader.fit": [
      [
        "length > this.#first",
        "length >= this.#first",
        "a new buffer of the least size does as well, and costs more",
      ],
      ["this.#peak = 0", "this.#peak = 1", "the least buffer is larger"],
    ],
    "ByteReader.close": [
      ["this.end = 0", "this.end = 1", "start and end stay equal, so nothing is buffered"],
    ],
    "ByteReader.fill": [
      ["room.length > limit", "room.length >= limit", "a view of all of it is the same room"],
    ],
    "Collector.room": [
      ["this.#length === 0", "false", "a view of all of it is the same room"],
    ],
    "Collector.collected": [
      ["this.#length === this.#bytes.length", "false", "a copy has the same bytes"],
    ],
  },
  "base/body/chunked_body.ts": {
    "ChunkedBody.#collect": [
      ["most + 1", "most + 2", "there is one all the same"],
    ],
  },
  "base/body/encoder_streams.ts": {
    "ChunkedDecoderStream.constructor": [
      ["new Collector(0)", "new Collector(1)", "it is the size of a buffer"],
    ],
  },
  "base/body/readers.ts": {
    "ChunkedReader.read": [
      [
        "count < into.length",
        "count <= into.length",
        "what frames the next data is read one call earlier",
      ],
    ],
    "ChunkedReader.nextEncoded": [
      ["pieceBytes = 0", "pieceBytes = 1", "no buffer grows to so few bytes"],
      ["this.#viewed * 2", "this.#viewed * 3", "when the buffer grows matters to speed alone"],
      [
        "this.#viewed * 2 > length",
        "this.#viewed * 2 >= length",
        "when the buffer grows matters to speed alone",
      ],
    ],
    "ChunkedReader.#nextData": [
      ["size <= reader.buffered", "false", "the long way leads there, too"],
    ],
  },
  "base/bytes.ts": {
    "startsWith": [
      [
        "i < wanted.length",
        "i <= wanted.length",
        "more bytes follow what is looked for, and none is `undefined`",
      ],
    ],
    "writeBytes": [
      [
        "i < bytes.length",
        "i <= bytes.length",
        "what is written behind is overwritten by what follows",
      ],
    ],
  },
  "base/quote.ts": {
    "SEARCHED_LENGTH": [
      [
        "4096",
        "4097",
        "it limits the effort for a long text, of which only the beginning is shown",
      ],
    ],
  },
  "base/wire/chunk.ts": {
    "ChunkScanner.#scanLine": [
      [
        "i + 1 < limit",
        "i + 1 <= limit",
        "one byte too many is looked at, but a line that ends there is not complete",
      ],
    ],
  },
  "base/wire/headers.ts": {
    "SPECIAL.format": [
      [
        "!Number.isSafeInteger(value) || value as number < 0",
        "true",
        "checkInteger() decides, more slowly",
      ],
      ["value as number < 0", "value as number < 1", "checkInteger() decides, more slowly"],
    ],
    "parseHeaderLines": [
      ["present !== 0", "true", "nothing is wrong, which costs a call to find"],
    ],
    "lineAt": [
      ["stop < end", "stop <= end", "there is a CR LF before the end"],
    ],
    "writeValue": [
      ["VALUE[code] !== 1", "VALUE[code] !== 2", "any number below 0 says so"],
    ],
    "slotOf": [
      ["start + end", "start - end", "it is a hash for a cache"],
      ["(start + end) >> 1", "(start + end) >> 2", "it is a hash for a cache"],
      ["end - 1", "end + 1", "it is a hash for a cache"],
      ["end - start", "end + start", "it is a hash for a cache"],
      ["end - 1", "end - 2", "it is a hash for a cache"],
      ["bytes[end - 1]! << 2", "bytes[end - 1]! << 3", "it is a hash for a cache"],
      ["bytes[middle]! << 5", "bytes[middle]! << 6", "it is a hash for a cache"],
      ["KNOWN_NAME_SLOTS - 1", "KNOWN_NAME_SLOTS - 2", "half of the slots would do, too"],
    ],
    "readName": [
      ["length + 2", "length - 2", "it is a cache: a name that is not found is parsed"],
      ["length + 2", "length + 3", "it is a cache: a name that is not found is parsed"],
    ],
    "SET_SLOTS": [
      ["64", "65", "it is a cache"],
    ],
    "linesFor": [
      ["count - 1", "count - 2", "it is a hash for a cache"],
      [
        "names[count - 1]!.length << 1",
        "names[count - 1]!.length << 2",
        "it is a hash for a cache",
      ],
      ["count === 0", "count === 1", "it is a hash for a cache"],
      ["count === 0", "true", "it is a hash for a cache"],
      [
        "count === 0 ? 0 : names[0]!.length ^ names[count - 1]!.length << 1",
        "count === 0 ? 1 : names[0]!.length ^ names[count - 1]!.length << 1",
        "it is a hash for a cache",
      ],
      ["names[0]", "names[1]", "it is a hash for a cache"],
      ["ends << 3", "ends << 4", "it is a hash for a cache"],
      ["SET_SLOTS - 1", "SET_SLOTS + 1", "it is a hash for a cache"],
      ["SET_SLOTS - 1", "SET_SLOTS - 2", "it is a hash for a cache"],
      ["known !== undefined && known.names.length === count", "false", "it is a cache"],
      [
        "i < count && names[i] === known.names[i]",
        "false",
        "it is a cache: a set that is not found is made",
      ],
      ["i < count", "i <= count", "it is a cache: behind the last name, nothing is found"],
      ["a.name < b.name", "a.name <= b.name", "no two names are the same"],
      ["a.name < b.name ? -1 : 1", "a.name < b.name ? -1 : 2", "only the sign counts"],
      ["count < SET_SLOTS", "true", "it keeps a cache from being replaced too often"],
      ["count < SET_SLOTS", "count <= SET_SLOTS", "it keeps a cache from being replaced too often"],
      ["count < SET_SLOTS", "false", "it is a cache"],
    ],
    "STOCK": [
      ["64", "65", "one object more is made at a time"],
    ],
    "newHeaderDict": [
      ["blanks.length === 0", "true", "more are made than are needed now"],
      ["blanks.length < STOCK", "blanks.length <= STOCK", "one more is made"],
    ],
  },
  "base/wire/preamble.ts": {
    "checkStatus": [
      [">=", ">", "checkInteger() decides, more slowly"],
      ["<=", "<", "checkInteger() decides, more slowly"],
      [
        "Number.isInteger(status) && status >= least && status <= 599",
        "false",
        "checkInteger() decides, more slowly",
      ],
    ],
    "writeAscii": [
      [
        "i < text.length",
        "i <= text.length",
        "the next part is written over what this writes too much",
      ],
    ],
  },
  "base/wire/range.ts": {
    "Range.[RANGE_BRAND]": [
      ["return true;", "return false;", "what counts is that it is there"],
    ],
    "ContentRange.[CONTENT_RANGE_BRAND]": [
      ["return true;", "return false;", "what counts is that it is there"],
    ],
    "parseDecimal": [
      [
        "digits > 16",
        "digits > 17",
        "a number of 17 digits is above the limit that is checked below",
      ],
    ],
  },
  "base/wire/tables.ts": {
    "tableOf": [
      ["256", "257", "no byte is 256"],
      ["i < allowed.length", "i <= allowed.length", "an array of bytes has no element NaN"],
    ],
  },
  "base/wire/uri.ts": {
    "parseUri": [
      ['uri === "/"', "false", "the long way leads there, too"],
    ],
  },
};
