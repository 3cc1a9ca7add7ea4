/** All fuzz targets. */

import { mdnsPackets } from "./agent.ts";
import type { Fuzzer } from "./fuzzer.ts";
import { linearTime } from "./linear.ts";
import { wireTargets } from "./parsers.ts";
import { makeLoopbackRequests, makeRequestStreams } from "./requests.ts";
import { makeResponseStreams } from "./responses.ts";

/** The targets without sockets and files. */
const pure: readonly Fuzzer[] = [
  ...wireTargets,
  mdnsPackets,
  linearTime,
];

/** Functions that make the fuzzers, by name. The caller must close the fuzzer. */
export const targets: Readonly<Record<string, () => Fuzzer>> = {
  ...Object.fromEntries(pure.map((fuzzer) => [fuzzer.name, () => fuzzer])),
  "request-stream": makeRequestStreams,
  "response-stream": makeResponseStreams,
  "request-loopback": makeLoopbackRequests,
};
