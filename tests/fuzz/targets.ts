/** All fuzz targets. */

import { accessLines } from "./access_log.ts";
import * as agent from "./agent.ts";
import { chunkStreams } from "./chunk_streams.ts";
import { fetchRequests } from "./fetch_requests.ts";
import * as names from "./file_names.ts";
import type { Fuzzer } from "./fuzzer.ts";
import { cancelledBodies, closedSessions } from "./interrupted.ts";
import { linearTime } from "./linear.ts";
import * as parsers from "./parsers.ts";
import { loopbackRequests, requestStreams } from "./requests.ts";
import { responseStreams } from "./responses.ts";
import { carelessSenders } from "./senders.ts";
import { tinyChunks } from "./tiny_chunks.ts";

/** Those that open nothing. */
const pure: readonly Fuzzer[] = [parsers, names, agent].flatMap(Object.values<Fuzzer>);

/** Makes each fuzzer, by its name. One that is made has to be closed. */
export const targets: Readonly<Record<string, () => Fuzzer>> = {
  ...Object.fromEntries(pure.map((fuzzer) => [fuzzer.name, () => fuzzer])),
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
