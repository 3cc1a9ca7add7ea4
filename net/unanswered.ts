/**
 * Requests that may have been acted on, although no answer came: of a server that is stopped nobody
 * knows how far it was.
 */

const unanswered = new WeakSet<object>();

/**
 * Tells that a peer hung up, with this error, after something of a PUT, POST or DELETE was sent.
 */
export function markUnanswered(error: unknown): void {
  if (error instanceof Error) unanswered.add(error);
}

/** Whether the request that failed with this error may have been acted on. */
export function isUnanswered(error: unknown): boolean {
  return unanswered.has(error as object);
}

/**
 * Takes the mark from the error of a request that can be repeated without harm; returns the error.
 */
export function asRepeatable(error: unknown): unknown {
  unanswered.delete(error as object);
  return error;
}
