/** Statuses after which a client may make its request again. */

/** The server, or a proxy in front of it, is overloaded (RFC 9110 §15.5, §15.6; RFC 6585 §4). */
const BUSY_STATUSES: ReadonlySet<unknown> = new Set([408, 429, 502, 503, 504]);

/** Reports whether the server was too busy for a request, or gave no answer in time. */
export function isBusyStatus(status: unknown): boolean {
  return BUSY_STATUSES.has(status);
}

/** Reports whether the status says that the server has not processed the request. */
export function isUnprocessedStatus(status: unknown): boolean {
  return status === 429 || status === 503;
}
