/**
 * The functions of an app in either of its two forms.
 *
 * @module
 */

import type { App, AppFunction, AppObject, Socket } from "./app.ts";
import { wrongType } from "../checks.ts";
import type { Session } from "./session.ts";

/** What an app decides about a connection. */
export type OnConnect = NonNullable<AppObject["onConnect"]>;

/** The two functions of an app. */
export interface AppParts {
  /** Answers a request. */
  readonly handle: AppFunction;
  /** Accepts or refuses a connection; `null` if the app accepts all. */
  readonly onConnect: OnConnect | null;
}

/**
 * Returns the functions of an app. The methods of an object are looked up when they are called.
 *
 * @param label The name of the app in errors.
 * @throws {TypeError} if it is neither a function nor an object with a method `handle`.
 */
export function readApp(app: App, label: string): AppParts {
  if (typeof app === "function") return { handle: app, onConnect: null };
  if (typeof app !== "object" || app === null || typeof app.handle !== "function") {
    throw wrongType(label, 'a function or an object with a method "handle"', app);
  }
  const { onConnect } = app;
  if (onConnect !== undefined && typeof onConnect !== "function") {
    throw wrongType(`${label}.onConnect`, "a function", onConnect);
  }
  return {
    handle: (request, session, api) => app.handle(request, session, api),
    onConnect: onConnect === undefined ? null : (session, sock) => app.onConnect!(session, sock),
  };
}

/**
 * Asks each app in turn whether to accept a peer; false as soon as one of them does not return
 * exactly `true`.
 */
export async function allAccept(
  askers: Iterable<OnConnect>,
  session: Session,
  sock: Socket,
): Promise<boolean> {
  for (const onConnect of askers) {
    if (await onConnect(session, sock) !== true) return false;
  }
  return true;
}
