/** All fuzz targets. */

import { mdnsPackets } from "./agent.ts";
import { makeCarelessApps } from "./careless_apps.ts";
import { chunkStreams } from "./chunk_streams.ts";
import { digests } from "./digests.ts";
import type { Fuzzer } from "./fuzzer.ts";
import { ignoredBodies } from "./ignored_bodies.ts";
import { makeCancelledBodies, makeClosedSessions } from "./interrupted.ts";
import { linearTime } from "./linear.ts";
import { wireTargets } from "./parsers.ts";
import { makeLoopbackRequests, makeRequestStreams } from "./requests.ts";
import { makeResponseStreams } from "./responses.ts";
import { carelessSenders } from "./senders.ts";
import { tinyChunks } from "./tiny_chunks.ts";

/** The targets without sockets and files. */
const pure: readonly Fuzzer[] = [
  ...wireTargets,
  digests,
  mdnsPackets,
  carelessSenders,
  chunkStreams,
  tinyChunks,
  linearTime,
];

/** Functions that make the fuzzers, by name. The caller must close the fuzzer. */
export const targets: Readonly<Record<string, () => Fuzzer>> = {
  ...Object.fromEntries(pure.map((fuzzer) => [fuzzer.name, () => fuzzer])),
  "request-stream": makeRequestStreams,
  "response-stream": makeResponseStreams,
  "careless-app": makeCarelessApps,
  "request-loopback": makeLoopbackRequests,
  "cancelled-body": makeCancelledBodies,
  "closed-session": makeClosedSessions,
  ...ignoredBodies,
};
