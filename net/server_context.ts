/**
 * What the connections of a server share.
 *
 * @module
 */

import type { Api, AppFunction, OnConnect } from "../base/app/app.ts";
import type { Session } from "../base/app/session.ts";
import type { WatchExchange } from "./exchange_watch.ts";
import type { Logger } from "./standard_logger.ts";

/** What all connections of a server share. */
export interface ServerContext {
  /** The app. */
  readonly handle: AppFunction;
  /** What the app does when a peer connects. */
  readonly onConnect: OnConnect | null;
  /** The app's third argument. */
  readonly api: Api;
  /** Seconds, or `null`. */
  readonly timeout: number | null;
  /** What to report to. */
  readonly logger: Logger;
  /** The sessions that were accepted and have not ended. */
  readonly sessions: Set<Session>;
  /** Follows an exchange; `null` if it is not observed. */
  readonly watchExchange: WatchExchange | null;
  /** True once no further request will be answered. */
  stopping: boolean;
}
