/** Types of apps, and the functions of an app in either form. */

import { answerToError, type Request, type ResponseObject, type ResponseTuple } from "./message.ts";
import type { PeerIdentity } from "./peer_identity.ts";
import type { PeerCertificate, Session } from "./session.ts";
import { type Bodies, bodies } from "../body/bodies.ts";
import { wrongArgumentError, wrongTypeError } from "../../internal/checks.ts";
import { ContentRange, Range } from "../wire/range.ts";

/** The connection that a client or a server uses; a `Deno.Conn` is such an object. */
export interface Socket {
  /** Reads up to `into.length` bytes; resolves to their number, or to `null` at the end. */
  read(into: Uint8Array): Promise<number | null>;
  /** Writes bytes; resolves to the number of bytes written. */
  write(bytes: Uint8Array): Promise<number>;
  /** Closes the connection; pending operations reject. */
  close(): void;
  /**
   * Closes the connection at once, if the socket can: what the system has not sent by then is never
   * sent.
   */
  reset?(): void;
  /** From now on a pending read keeps the process alive, as it does at first. */
  ref?(): void;
  /** From now on a pending read doesn't keep the process alive, if the socket can do so. */
  unref?(): void;
  /** Closes the writing side, if the socket can. */
  closeWrite?(): Promise<void>;
  /** The verified certificate of the peer, if there is one. */
  readonly peerCertificate?: PeerCertificate | null;
  /** The version of TLS, if the socket uses it: `"TLSv1.3"`. */
  readonly protocol?: string;
  /** The cipher suite, if the socket uses TLS, by OpenSSL's name: `"TLS_AES_256_GCM_SHA384"`. */
  readonly cipher?: string;
  /** The address of this end. */
  readonly localAddr?: unknown;
  /** The address of the peer. */
  readonly remoteAddr?: unknown;
  /**
   * Aborted when the peer is no longer trusted. `client.connect()` closes the connection over a
   * socket of `client.createSocket()` then, with the reason of the signal.
   */
  readonly trust?: AbortSignal;
  /**
   * The likely reason if a server refuses this client over TLS, with advice. `client.connect()`
   * adds it to the error of such a request.
   */
  readonly refusalHint?: string;
}

/** The third argument of an app: the classes to make a response from. */
export interface Api extends Bodies {
  /** The class of parsed `range` headers. */
  readonly Range: typeof Range;
  /** The class of parsed `content-range` headers. */
  readonly ContentRange: typeof ContentRange;
}

/**
 * An app that is a function: given a request, it returns a status, a reason, headers and a body. It
 * may throw them as a {@linkcode ResponseError}. The requests of a route have a type of
 * their own.
 */
export type AppFunction<R extends Request = Request> = (
  request: R,
  session: Session,
  api: Api,
) => ResponseTuple | ResponseObject | Promise<ResponseTuple | ResponseObject>;

/** An app that is an object, which may accept or refuse a peer when it connects. */
export interface AppObject {
  /** Answers a request. */
  handle: AppFunction;
  /**
   * Called when a peer connects: accepts it by returning exactly `true`, or its
   * {@linkcode PeerIdentity}, and refuses it with anything else.
   */
  onConnect?(
    session: Session,
    sock: Socket,
  ): boolean | PeerIdentity | Promise<boolean | PeerIdentity>;
  /** Releases what the app holds; the program that made the app calls it, and no server does. */
  [Symbol.asyncDispose]?(): PromiseLike<void>;
  /** Releases what the app holds, at once. */
  [Symbol.dispose]?(): void;
}

/** The methods of an app besides `handle`: wrappers of an app pass them on. */
export const APP_HOOKS = ["onConnect", Symbol.asyncDispose, Symbol.dispose] as const;

/** An app: a function, or an object with that function as its method `handle`. */
export type App = AppFunction | AppObject;

/** The third argument of an app: the four body classes, `Range` and `ContentRange`. */
export const api: Api = Object.freeze({ ...bodies, Range, ContentRange });

/** The function by which an app decides about a connection. */
export type OnConnect = NonNullable<AppObject["onConnect"]>;

/** The two functions of an app. */
export interface AppParts {
  /** Answers a request. */
  readonly handle: AppFunction;
  /** Accepts or refuses a connection; `null` if the app accepts every connection. */
  readonly onConnect: OnConnect | null;
}

/**
 * Returns the functions of an app, which error messages call `label`. The methods of an object are
 * looked up at each call.
 */
export function readApp(app: App, label: string): AppParts {
  if (typeof app === "function") return { handle: app, onConnect: null };
  if (typeof app !== "object" || app === null || typeof app.handle !== "function") {
    throw wrongTypeError(label, 'a function or an object with a method "handle"', app);
  }
  checkHooks(app, label);
  const { onConnect } = app;
  if (onConnect !== undefined && typeof onConnect !== "function") {
    throw wrongTypeError(`${label}.onConnect`, "a function", onConnect);
  }
  return {
    handle: (request, session, api) => app.handle(request, session, api),
    onConnect: onConnect === undefined ? null : (session, sock) => app.onConnect!(session, sock),
  };
}

/**
 * Refuses a method that was meant to be `onConnect`: nobody would call it, and every peer would be
 * accepted.
 */
function checkHooks(app: AppObject, label: string): void {
  for (let holder: object = app; holder !== Object.prototype && holder !== null;) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(holder))) {
      if (name === "onConnect" || typeof value !== "function") continue;
      if (!name.startsWith("onConnect") && name.toLowerCase() !== "onconnect") continue;
      throw wrongArgumentError(
        `${label}.${name}`,
        `is never called; the method of an app is onConnect`,
      );
    }
    holder = Object.getPrototypeOf(holder);
  }
}

/**
 * Calls an app, and returns its answer unchecked, or that to what it has thrown:
 * {@linkcode answerToError}. A server does the same in its own loop, without a promise more.
 */
export async function callHandle(
  { handle }: Pick<AppParts, "handle">,
  request: Request,
  session: Session,
  given: Api = api,
): Promise<unknown> {
  // An app can replace the fields of its request.
  const { body } = request;
  try {
    return await handle(request, session, given);
  } catch (error) {
    const answer = answerToError(request, body, error);
    if (answer === null) throw error;
    return answer;
  }
}

/** Disposes of an app, if it can be disposed of. */
export async function disposeApp(app: App): Promise<void> {
  if (typeof app === "function") return;
  if (app[Symbol.asyncDispose] !== undefined) await app[Symbol.asyncDispose]!();
  else app[Symbol.dispose]?.();
}
