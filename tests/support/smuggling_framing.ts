/**
 * Rows of the smuggling corpus with an ambiguous end of a body: RFC 9112 §6 and §7.
 *
 * @module
 */

import {
  brokenChunks,
  message,
  refused,
  refusedPost,
  SMUGGLED,
  type SmugglingRow,
  TE,
} from "./smuggling_rows.ts";

const { length } = SMUGGLED;
const hexLength = length.toString(16);

const bothFramings: readonly SmugglingRow[] = [
  refusedPost("CL.TE", `content-length: ${length + 5}\r\n${TE}`, `0\r\n\r\n${SMUGGLED}`),
  refusedPost("TE.CL", `${TE}\r\ncontent-length: 4`, `${hexLength}\r\n${SMUGGLED}\r\n0\r\n\r\n`),
  refusedPost("TE.CL with length 0", `${TE}\r\ncontent-length: 0`, "0\r\n\r\n"),
  refusedPost("CL.TE where both agree", `content-length: 5\r\n${TE}`, "0\r\n\r\n"),
  refusedPost(
    "CL.TE in other cases",
    `Content-Length: 5\r\nTRANSFER-ENCODING: chunked`,
    "0\r\n\r\n",
  ),
];

const codings: readonly SmugglingRow[] = [
  ["TE.TE: two codings in two lines", `${TE}\r\ntransfer-encoding: identity`],
  ["TE.TE: the same twice", `${TE}\r\n${TE}`],
  ["TE.TE: the same twice in other cases", `${TE}\r\nTransfer-Encoding: chunked`],
  ["TE.TE: a list", "transfer-encoding: gzip, chunked"],
  ["TE.TE: chunked first", "transfer-encoding: chunked, identity"],
  ["TE.TE: chunked twice in a list", "transfer-encoding: chunked, chunked"],
  ["TE.TE: another case", "transfer-encoding: Chunked"],
  ["TE.TE: capitals", "transfer-encoding: CHUNKED"],
  ["TE.TE: prefix", "transfer-encoding: xchunked"],
  ["TE.TE: suffix", "transfer-encoding: chunkedx"],
  ["TE.TE: parameter", "transfer-encoding: chunked;q=1"],
  ["TE.TE: quotes", 'transfer-encoding: "chunked"'],
  ["TE.TE: comma", "transfer-encoding: ,chunked"],
  ["TE.TE: trailing space", "transfer-encoding: chunked "],
  ["TE.TE: two spaces", "transfer-encoding:  chunked"],
  ["TE.TE: no space", "transfer-encoding:chunked"],
  ["TE.TE: tab", "transfer-encoding:\tchunked"],
  ["TE.TE: tab after the value", "transfer-encoding: chunked\t"],
  ["TE.TE: vertical tab", "transfer-encoding: \x0bchunked"],
  ["TE.TE: form feed", "transfer-encoding: chunked\x0c"],
  ["TE.TE: no-break space", "transfer-encoding:\xa0chunked"],
  ["TE.TE: NUL", "transfer-encoding: chunked\0"],
  ["TE.TE: bare CR before the value", "transfer-encoding: \rchunked"],
  ["TE.TE: bare LF before the value", "transfer-encoding:\nchunked"],
  ["TE.TE: folded", "transfer-encoding:\r\n chunked"],
  ["TE.TE: folded with a tab", "transfer-encoding:\r\n\tchunked"],
  ["TE.TE: space before the colon", "transfer-encoding : chunked"],
  ["TE.TE: tab before the colon", "transfer-encoding\t: chunked"],
  ["TE.TE: space before the name", " transfer-encoding: chunked"],
  ["TE.TE: behind a bare LF", "x: y\ntransfer-encoding: chunked"],
  ["TE.TE: behind a bare CR", "x: y\rtransfer-encoding: chunked"],
  ["TE.TE: underscore", "transfer_encoding: chunked"],
  ["TE.TE: a byte above 127 in the name", "transfer-encod\xefng: chunked"],
  ["TE.TE: NUL in the name", "transfer-encoding\0: chunked"],
  ["TE.TE: identity", "transfer-encoding: identity"],
  ["TE.TE: gzip", "transfer-encoding: gzip"],
  ["TE.TE: empty", "transfer-encoding: "],
].map(([name = "", headers = ""]) =>
  refusedPost(name, headers, `${hexLength}\r\n${SMUGGLED}\r\n0\r\n\r\n`)
);

const lengths: readonly SmugglingRow[] = [
  ["CL.CL: two values", `content-length: 0\r\ncontent-length: ${length}`],
  ["CL.CL: the same twice", `content-length: ${length}\r\nContent-Length: ${length}`],
  ["CL.CL: a list", `content-length: ${length}, ${length}`],
  ["CL.CL: a list of two values", `content-length: 0, ${length}`],
  ["CL: plus", `content-length: +${length}`],
  ["CL: minus", "content-length: -1"],
  ["CL: minus zero", "content-length: -0"],
  ["CL: leading zero", `content-length: 0${length}`],
  ["CL: hex", "content-length: 0x24"],
  ["CL: exponent", "content-length: 1e1"],
  ["CL: fraction", `content-length: ${length}.0`],
  ["CL: separator", "content-length: 1_0"],
  ["CL: trailing space", `content-length: ${length} `],
  ["CL: two spaces", `content-length:  ${length}`],
  ["CL: trailing tab", `content-length: ${length}\t`],
  ["CL: no space", `content-length:${length}`],
  ["CL: quotes", `content-length: "${length}"`],
  ["CL: empty", "content-length: "],
  ["CL: letters", "content-length: abc"],
  ["CL: digits, then letters", `content-length: ${length}a`],
  ["CL: NUL", `content-length: ${length}\0`],
  ["CL: a superscript digit", "content-length: 3\xb2"],
  ["CL: 2 to the 53", "content-length: 9007199254740992"],
  ["CL: 2 to the 64", "content-length: 18446744073709551616"],
  ["CL: 2 to the 64 and some more", `content-length: ${18446744073709551616n + BigInt(length)}`],
  ["CL: very long", `content-length: ${"9".repeat(400)}`],
  ["CL: folded", `content-length:\r\n ${length}`],
  ["CL: space before the colon", `content-length : ${length}`],
  ["CL: tab before the colon", `content-length\t: ${length}`],
  ["CL: space before the name", ` content-length: ${length}`],
  ["CL: behind a bare LF", `x: y\ncontent-length: ${length}`],
  ["CL: behind a bare CR", `x: y\rcontent-length: ${length}`],
  ["CL: underscore", `content_length: ${length}`],
].map(([name = "", headers = ""]) => refusedPost(name, headers, SMUGGLED));

const noBody: readonly SmugglingRow[] = ["GET", "HEAD", "DELETE"].flatMap((method) => [
  refused(
    `${method} with a length`,
    message(`${method} /b HTTP/1.1`, `content-length: ${length}`, SMUGGLED),
  ),
  refused(
    `${method} with length 0`,
    message(`${method} /b HTTP/1.1`, "content-length: 0", SMUGGLED),
  ),
  refused(`${method} with chunks`, message(`${method} /b HTTP/1.1`, TE, `0\r\n\r\n${SMUGGLED}`)),
]);

const hello = "5\r\nhello\r\n";

const chunkStreams: readonly SmugglingRow[] = [
  brokenChunks("size of 17 digits", `10000000000000005\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("size of 9 digits", `100000005\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("size of 8 digits", `80000000\r\n`),
  brokenChunks("size of all ones", `ffffffffffffffff\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("size above 16 MiB", `1000001\r\n`),
  brokenChunks("negative size", "-5\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("plus", "+5\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("0x", "0x5\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("leading zero", "05\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("zeros for the last chunk", `${hello}00\r\n\r\n`),
  brokenChunks("size with a separator", "0_5\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("space behind the size", "5 \r\nhello\r\n0\r\n\r\n"),
  brokenChunks("space before the size", " 5\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("tab behind the size", "5\t\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("no size", "\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("not a digit", "g\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("NUL behind the size", "5\0\r\nhello\r\n0\r\n\r\n"),
  brokenChunks("line that ends with LF", "5\nhello\r\n0\r\n\r\n"),
  brokenChunks("line that ends with CR", "5\rhello\r\n0\r\n\r\n"),
  brokenChunks("line that ends with CR and another byte", "5\rXhello\r\n0\r\n\r\n"),
  brokenChunks("data that ends with LF", `5\r\nhello\n0\r\n\r\n${SMUGGLED}`),
  brokenChunks("data that ends with CR", `5\r\nhello\r0\r\n\r\n${SMUGGLED}`),
  brokenChunks("data without an end", `5\r\nhello0\r\n\r\n${SMUGGLED}`),
  brokenChunks("data followed by two other bytes", `5\r\nhelloXX0\r\n\r\n${SMUGGLED}`),
  brokenChunks("data followed by CR and another byte", `5\r\nhello\rX0\r\n\r\n${SMUGGLED}`),
  brokenChunks("a last chunk followed by CR and another byte", `${hello}0\r\n\rX${SMUGGLED}`),
  brokenChunks("data that is longer than its size", `5\r\nhello!\r\n0\r\n\r\n`),
  brokenChunks("data that is shorter than its size", `6\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("LF in an extension", `5;a\nx: y\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("LF in the value of an extension", `5;a=b\n\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("LF that ends an extension", `5;\nhello\r\n0\r\n\r\n${SMUGGLED}`),
  brokenChunks(
    "LF in an extension, with a request behind it",
    `2;\nxx\r\n${hexLength}\r\n0\r\n\r\n${SMUGGLED}\r\n0\r\n\r\n`,
  ),
  brokenChunks("CR in an extension", `5;a=b\rc\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("NUL in an extension", `5;a=\0\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("quoted line end in an extension", `5;a="\r\n"\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("extension without a value", `5;a\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("extension without a key", `5;=b\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("empty extension", `5;\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("space before an extension", `5 ;a=b\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("space in an extension", `5; a=b\r\nhello\r\n0\r\n\r\n`),
  brokenChunks("two extensions", `5;a=b;c=d\r\nhello\r\n0\r\n\r\n`),
  brokenChunks(
    "an extension of more than 4096 bytes",
    `5;a=${"b".repeat(4096)}\r\nhello\r\n0\r\n\r\n`,
  ),
  brokenChunks("trailers", `${hello}0\r\nx: y\r\n\r\n`),
  brokenChunks(
    "a trailer with a length",
    `${hello}0\r\ncontent-length: ${length}\r\n\r\n${SMUGGLED}`,
  ),
  brokenChunks("a trailer with a coding", `${hello}0\r\n${TE}\r\n\r\n0\r\n\r\n`),
  brokenChunks("a trailer with a host", `${hello}0\r\nhost: b\r\n\r\n`),
  brokenChunks("a trailer that is folded", `${hello}0\r\n x\r\n\r\n`),
  brokenChunks("a request in place of a trailer", `${hello}0\r\n${SMUGGLED}`),
  brokenChunks("a last chunk that ends with LF", `${hello}0\r\n\n${SMUGGLED}`),
  brokenChunks("a last chunk of LF alone", `${hello}0\n\n${SMUGGLED}`),
  brokenChunks("a last chunk with data", `${hello}0\r\nX\r\n\r\n`),
  brokenChunks("no last chunk", hello),
  brokenChunks("nothing", ""),
  brokenChunks("a body that is not chunked", SMUGGLED),
  {
    name: "a length beyond the end",
    bytes: message("POST /c HTTP/1.1", `content-length: ${length + 1}`, SMUGGLED),
    accepted: [],
    broken: "/c",
  },
  {
    name: "a length of 2 to the 53 less 1",
    bytes: message("POST /c HTTP/1.1", "content-length: 9007199254740991", SMUGGLED),
    accepted: [],
    broken: "/c",
  },
];

/** Every row about framing. */
export const framingRows: readonly SmugglingRow[] = [
  ...bothFramings,
  ...codings,
  ...lengths,
  ...noBody,
  ...chunkStreams,
];
