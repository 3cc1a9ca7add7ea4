import { findAppErrorResponse, type ResponseObject, type ResponseTuple } from "./app_result.ts";
import type { Request } from "./message.ts";
import { checkOnConnectResult, joinIdentities, type PeerIdentity } from "./peer_identity.ts";
import type { PeerCertificate, Session } from "./session.ts";
import { type Bodies, bodies } from "../body/body.ts";
import { toReadableError } from "../../internal/caught_errors.ts";
import { checkFunction, wrongArgumentError, wrongTypeError } from "../../internal/checks.ts";
import { ContentRange, Range, SuffixRange, UnsatisfiedRange } from "../wire/range.ts";

/** The connection that a client or a server uses; a `Deno.Conn` is such an object. */
export interface Socket {
  /** Reads up to `into.length` bytes; resolves to their number, or to `null` at the end. */
  read(into: Uint8Array): Promise<number | null>;
  /**
   * Reads bytes into memory that the caller then owns; resolves to `null` at the end. A socket with
   * this method reads faster with it than with `read`.
   */
  readPiece?(): Promise<Uint8Array<ArrayBuffer> | null>;
  /** Writes bytes; resolves to the number of bytes written. */
  write(bytes: Uint8Array): Promise<number>;
  /** Closes the connection; pending operations reject. */
  close(): void;
  /**
   * Closes the connection at once, if the socket can: the system discards the bytes that it hasn't
   * sent.
   */
  reset?(): void;
  /** Makes a pending read keep the process alive, which is the default. */
  ref?(): void;
  /** Makes a pending read not keep the process alive, if the socket can. */
  unref?(): void;
  /** Closes the writing side, if the socket can. */
  closeWrite?(): Promise<void>;
  /** The verified certificate of the peer, if there is one. */
  readonly peerCertificate?: PeerCertificate | null;
  /** The version of TLS, if the socket uses it: `"TLSv1.3"`. */
  readonly protocol?: string;
  /** The cipher suite, if the socket uses TLS, by OpenSSL's name: `"TLS_AES_256_GCM_SHA384"`. */
  readonly cipher?: string;
  /** The local address. */
  readonly localAddr?: unknown;
  /** The address of the peer. */
  readonly remoteAddr?: unknown;
  /**
   * Aborted when the peer is no longer trusted. A connection that `client.connect()` has made over
   * a socket of `client.createSocket()` is then closed, with the reason of the signal.
   */
  readonly trust?: AbortSignal;
}

/** The third argument of an app: the classes that make bodies and ranges. */
export interface Api extends Bodies {
  /** The class of parsed `range` headers. */
  readonly Range: typeof Range;
  /** The class of parsed `range` headers of the last bytes. */
  readonly SuffixRange: typeof SuffixRange;
  /** The class of parsed `content-range` headers. */
  readonly ContentRange: typeof ContentRange;
  /** The class of parsed `content-range` headers of responses with status 416. */
  readonly UnsatisfiedRange: typeof UnsatisfiedRange;
}

/**
 * An app that is a function. The function gets a request, and returns a status, a reason, headers
 * and a body. The function may throw a response as a {@linkcode ResponseError}. The requests of
 * `routes()` have the type `RouteRequest`.
 */
export type AppFunction<R extends Request = Request> = (
  request: R,
  session: Session,
  api: Api,
) => ResponseTuple | ResponseObject | Promise<ResponseTuple | ResponseObject>;

/** An app that is an object, which may accept or refuse a peer when it connects. */
export interface AppObject {
  /** Handles a request, and returns its response. */
  handle: AppFunction;
  /**
   * Called when a peer connects. The app accepts the peer by returning exactly `true`, or the
   * {@linkcode PeerIdentity} of the peer. `false` refuses the peer. Any other result also refuses
   * the peer, and is logged as an error.
   */
  onConnect?(
    session: Session,
    sock: Socket,
  ): boolean | PeerIdentity | Promise<boolean | PeerIdentity>;
  /**
   * Whether the app expects `request.path` to be the path below its mount. `routes()` refuses such
   * an app under a key like `"GET /files/"`, because the app would get the whole path.
   *
   * @default {false}
   */
  readonly isMount?: boolean | undefined;
  /** Releases the resources of the app. The program that made the app calls it, not the server. */
  [Symbol.asyncDispose]?(): PromiseLike<void>;
  /** Releases the resources of the app synchronously. */
  [Symbol.dispose]?(): void;
}

/** The methods of an app besides `handle`, which a wrapper of the app forwards. */
export const APP_HOOKS = ["onConnect", Symbol.asyncDispose, Symbol.dispose] as const;

/** An app: a function, or an object with that function as its method `handle`. */
export type App = AppFunction | AppObject;

export const api: Api = Object.freeze({
  ...bodies,
  Range,
  SuffixRange,
  ContentRange,
  UnsatisfiedRange,
});

export type OnConnect = (session: Session, sock: Socket) => Promise<PeerIdentity | boolean>;

export interface AppParts {
  readonly handle: AppFunction;
  /** Accepts or refuses a connection; `null` if the app accepts every connection. */
  readonly onConnect: OnConnect | null;
}

/**
 * Checks an app, and returns functions that call it. They look up `handle` and `onConnect` of an
 * object at each call.
 */
export function readApp(app: App, label: string): AppParts {
  if (typeof app === "function") return { handle: app, onConnect: null };
  const isObject = typeof app === "object" && app !== null && typeof app.handle === "function";
  if (!isObject) {
    throw wrongTypeError(label, 'a function or an object with a method "handle"', app);
  }
  checkHooks(app, label);
  const { onConnect } = app;
  if (onConnect !== undefined) checkFunction(`${label}.onConnect`, onConnect);
  return {
    handle: (request, session, api) => app.handle(request, session, api),
    onConnect: onConnect === undefined
      ? null
      : async (session, sock) => checkOnConnectResult(await app.onConnect!(session, sock)),
  };
}

/** Makes a function that accepts a peer if each function accepts it, in their order. */
export function joinOnConnect(functions: readonly OnConnect[]): OnConnect {
  return async (session, sock) => {
    let joinedIdentity: PeerIdentity | null = null;
    for (const onConnect of functions) {
      const decision = await onConnect(session, sock);
      if (decision === false) return false;
      if (decision === true) continue;
      joinedIdentity = joinedIdentity === null
        ? decision
        : joinIdentities(joinedIdentity, decision);
    }
    return joinedIdentity ?? true;
  };
}

/**
 * Refuses an app with a misspelled `onConnect`: the server would not call that method, and would
 * accept every peer.
 */
function checkHooks(app: AppObject, label: string): void {
  for (let object: object = app; object !== Object.prototype && object !== null;) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(object))) {
      if (name === "onConnect" || typeof value !== "function") continue;
      if (!name.startsWith("onConnect") && name.toLowerCase() !== "onconnect") continue;
      throw wrongArgumentError(
        `${label}.${name}`,
        `is never called; the method of an app is onConnect`,
      );
    }
    object = Object.getPrototypeOf(object);
  }
}

export async function disposeApp(app: App): Promise<void> {
  if (typeof app === "function") return;
  if (app[Symbol.asyncDispose] !== undefined) await app[Symbol.asyncDispose]!();
  else app[Symbol.dispose]?.();
}

/** `ServerConnection` has the same steps inline, which saves a promise per request. */
export async function callHandle(
  { handle }: Pick<AppParts, "handle">,
  request: Request,
  session: Session,
  classes: Api = api,
): Promise<unknown> {
  // Read the body before the call, because the app can replace the fields of its request.
  const { body } = request;
  try {
    return await handle(request, session, classes);
  } catch (thrownValue) {
    const error = toReadableError(thrownValue);
    const response = findAppErrorResponse(request, body, error);
    if (response === null) throw error;
    return response;
  }
}
