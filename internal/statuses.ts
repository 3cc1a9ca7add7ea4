/** RFC 9110 §15.4. */
const REDIRECT_STATUSES: ReadonlySet<unknown> = new Set([301, 302, 303, 307, 308]);

export function isRedirectStatus(status: unknown): boolean {
  return REDIRECT_STATUSES.has(status);
}

/** Statuses of an overloaded server or proxy (RFC 9110 §15.5, §15.6; RFC 6585 §4). */
const BUSY_STATUSES: ReadonlySet<unknown> = new Set([408, 429, 502, 503, 504]);

export function isBusyStatus(status: unknown): boolean {
  return BUSY_STATUSES.has(status);
}

export function isUnprocessedStatus(status: unknown): boolean {
  return status === 429 || status === 503;
}
