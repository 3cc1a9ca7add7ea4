/** Statuses after which a client may make its request again. */

/** Statuses of an overloaded server or proxy (RFC 9110 §15.5, §15.6; RFC 6585 §4). */
const BUSY_STATUSES: ReadonlySet<unknown> = new Set([408, 429, 502, 503, 504]);

/** Reports whether a status means that the server was too busy, or didn't respond in time. */
export function isBusyStatus(status: unknown): boolean {
  return BUSY_STATUSES.has(status);
}

/** Reports whether a status means that the server has not processed the request. */
export function isUnprocessedStatus(status: unknown): boolean {
  return status === 429 || status === 503;
}
