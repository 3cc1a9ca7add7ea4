/**
 * Errors that name the place in a request or a response that they are about.
 *
 * @module
 */

import { BodyError, quote } from "../base/errors.ts";

/**
 * Runs a check of the library, whose errors begin with the name of what was checked, as in
 * `status: …` or `headers["name"]: …`, and puts the place where it stands in the place of the name.
 */
export function labelled<T>(label: string, check: () => T): T {
  return relabelled(check, (message) => {
    const place = /^\w+(?=[:[])/.exec(message);
    return place === null ? `${label}: ${message}` : label + message.slice(place[0].length);
  });
}

/** The same for a check of the one thing that the label names, whatever the error calls it. */
export function labelledWhole<T>(label: string, check: () => T): T {
  return relabelled(
    check,
    (message) => `${label}: ${message.replace(/^\w+(\["[-\w]*"\])?: /, "")}`,
  );
}

function relabelled<T>(check: () => T, relabel: (message: string) => string): T {
  try {
    return check();
  } catch (error) {
    if (error instanceof TypeError) throw new TypeError(relabel(error.message));
    if (error instanceof RangeError) throw new RangeError(relabel(error.message));
    if (error instanceof BodyError) throw new BodyError(relabel(error.message));
    throw error;
  }
}

/** The label of an item: `response[2]["content-type"]`. */
export function itemOf(label: string, key: string): string {
  return `${label}[${quote(key)}]`;
}
