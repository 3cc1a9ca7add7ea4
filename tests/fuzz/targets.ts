/**
 * All fuzz targets.
 *
 * @module
 */

import { accessLines } from "./access_log.ts";
import { cancelledBodies } from "./cancelled.ts";
import { chunkStreams } from "./chunk_streams.ts";
import { fetchRequests } from "./fetch_requests.ts";
import { closedSessions } from "./closed_sessions.ts";
import { digests, fileNames } from "./file_names.ts";
import { chunkFormats, requestFormats, responseFormats } from "./formats.ts";
import type { Fuzzer } from "./fuzzer.ts";
import { linearTime } from "./linear.ts";
import { requestPreambles, responsePreambles } from "./preambles.ts";
import { loopbackRequests, requestStreams } from "./requests.ts";
import { responseStreams } from "./responses.ts";
import { carelessSenders } from "./senders.ts";
import { tinyChunks } from "./tiny_chunks.ts";
import { chunkLines, contentRanges, ranges, uris } from "./values.ts";

/** Makes each fuzzer, by its name. One that is made has to be closed. */
export const targets: Readonly<Record<string, () => Fuzzer>> = {
  "request-preamble": () => requestPreambles,
  "response-preamble": () => responsePreambles,
  "request-format": () => requestFormats,
  "response-format": () => responseFormats,
  "uri": () => uris,
  "range": () => ranges,
  "content-range": () => contentRanges,
  "file-name": () => fileNames,
  "digest": () => digests,
  "chunk-line": () => chunkLines,
  "chunk-format": () => chunkFormats,
  "chunk-stream": chunkStreams,
  "request-stream": requestStreams,
  "response-stream": responseStreams,
  "request-loopback": loopbackRequests,
  "access-log": accessLines,
  "cancelled-body": cancelledBodies,
  "closed-session": closedSessions,
  "careless-sender": () => carelessSenders,
  "fetch-request": fetchRequests,
  "tiny-chunks": () => tinyChunks,
  "linear-time": () => linearTime,
};
