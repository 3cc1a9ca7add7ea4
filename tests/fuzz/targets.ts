/**
 * All fuzz targets.
 *
 * @module
 */

import { accessLines } from "./access_log.ts";
import { mdnsPackets, remotePaths } from "./agent.ts";
import { cancelledBodies, closedSessions } from "./interrupted.ts";
import { chunkStreams } from "./chunk_streams.ts";
import { fetchRequests } from "./fetch_requests.ts";
import { digests, fileNames } from "./file_names.ts";
import {
  chunkFormats,
  chunkLines,
  contentRanges,
  ranges,
  requestFormats,
  requestPreambles,
  responseFormats,
  responsePreambles,
  uris,
} from "./parsers.ts";
import type { Fuzzer } from "./fuzzer.ts";
import { linearTime } from "./linear.ts";
import { loopbackRequests, requestStreams } from "./requests.ts";
import { responseStreams } from "./responses.ts";
import { carelessSenders } from "./senders.ts";
import { tinyChunks } from "./tiny_chunks.ts";

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
  "mdns-packet": () => mdnsPackets,
  "remote-path": () => remotePaths,
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
