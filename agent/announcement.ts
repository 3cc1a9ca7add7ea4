/**
 * What is given to be announced, and what is asked for.
 *
 * @module
 */

import type { Logger } from "../net/standard_logger.ts";

/** What {@linkcode announce} tells the network about this device. */
export interface AnnounceOptions {
  /** The name of the device. Where another one on the link has it, `-2`, `-3` … is added. */
  readonly name: string;
  /** The id of the device, of which the first 16 characters are announced. */
  readonly id: string;
  /** The port of its server. */
  readonly port: number;
  /** When aborted, it is as if the announcement were disposed of. */
  readonly signal?: AbortSignal;
  readonly logger: Logger;
}

/** An announcement that is being made. Disposing takes it back, and closes its sockets. */
export interface Announcement extends AsyncDisposable {
  /** The name, once it is known to be free on every link and was announced. Never rejects. */
  readonly announced: Promise<string>;
}

/** How {@linkcode findAddresses} looks for a device. */
export interface FindOptions {
  /** When aborted, the search rejects with the reason. */
  readonly signal?: AbortSignal;
  /** How long to look at most, in seconds. */
  readonly seconds?: number;
  readonly logger?: Logger;
}
