/**
 * Loaded before tests, with `--preload`: makes TLS run over connections of Deno, as if sockets of
 * `node:net` couldn't be paused.
 */

import { reportPauseFailure } from "../../net/runtime.ts";

reportPauseFailure();
