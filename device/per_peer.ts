/** An app of its own for each peer. */

import { type App, type AppObject, disposeApp, readApp, type Socket } from "../base/app/app.ts";
import { type Session, trustOf } from "../base/app/session.ts";
import { checkFunction } from "../base/checks.ts";
import { ConnectionClosedError, DeguError } from "../base/errors.ts";
import { standardLogger } from "../net/logger.ts";
import { messageOf } from "../net/thrown.ts";
import { peerOf } from "./device_server.ts";
import type { Peer } from "./peer_store.ts";

/**
 * Makes an app that hands the requests of each peer to an app of that peer's own: a directory for
 * each, a limit for each, a state for each.
 *
 * The app of a peer is made at its first request, also if two arrive at once, and kept until the
 * peer is forgotten or gets another name here, or the whole is disposed of. Then its running calls
 * are waited for, and it is disposed of once, if it has `[Symbol.asyncDispose]` or
 * `[Symbol.dispose]`; no app waits for another. A request under another name gets a new app, so
 * that rules by name hold at once. The disposal of the whole resolves when all are disposed of. If
 * `make` fails, the request fails, and the next one tries again. The `onConnect` of a peer's app is
 * asked before the first request of each session; if it does not return `true`, the session ends
 * without an answer.
 *
 * @param make Makes the app of a peer.
 * @throws {TypeError} if `make` is not a function.
 *
 * @example
 * ```ts
 * import { type Peer, perPeer } from "@degu/degu/device";
 * import { reply } from "@degu/degu";
 * import { callApp, mkreq } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * await using app = perPeer((peer: Peer) => {
 *   let requests = 0;
 *   return () => reply(200, `${peer.name}: ${++requests}`);
 * });
 * const counts = [];
 * for (const peer of ["camera", "viewer", "camera"]) {
 *   const { body } = await callApp(app, mkreq("GET", "/"), { peer });
 *   counts.push(new TextDecoder().decode(body as Uint8Array));
 * }
 * assertEquals(counts, ["camera: 1", "viewer: 1", "camera: 2"]);
 * ```
 */
export function perPeer(
  make: (peer: Peer) => App | Promise<App>,
): AppObject & AsyncDisposable {
  checkFunction("make", make);
  const apps = new PeerApps(make);
  return {
    handle: async (request, session, api) => {
      const own = apps.of(session);
      return await own.use(async (app) => {
        trustOf(session)?.signal.throwIfAborted();
        const { handle, onConnect } = readApp(app, "make()");
        if (onConnect === null || await apps.admits(own, session, onConnect)) {
          return handle(request, session, api);
        }
        session.close(new ConnectionClosedError("the app of the peer refuses this session"));
        return [403, "Forbidden", {}, null];
      });
    },
    onConnect: (session, sock) => apps.connected(session, sock),
    [Symbol.asyncDispose]: () => apps[Symbol.asyncDispose](),
  };
}

/** The app of one peer, from the call of `make` to its disposal. */
class PeerApp {
  /** The name of the peer for which the app was made. */
  readonly name: string;
  /** The answer of its `onConnect` to each session. */
  readonly admissions = new WeakMap<Session, Promise<boolean>>();
  readonly #making: Promise<App>;
  readonly #requests = new Set<Promise<unknown>>();
  #disposing: Promise<void> | null = null;

  constructor(name: string, making: Promise<App>) {
    this.name = name;
    this.#making = making;
  }

  /** Uses the app for a request, which its disposal waits for. */
  async use<T>(action: (app: App) => Promise<T>): Promise<T> {
    const request = this.#making.then(action);
    this.#requests.add(request);
    try {
      return await request;
    } finally {
      this.#requests.delete(request);
    }
  }

  /** Disposes of the app after its requests; nobody may begin another one. */
  dispose(): Promise<void> {
    this.#disposing ??= this.#dispose();
    return this.#disposing;
  }

  async #dispose(): Promise<void> {
    await Promise.allSettled(this.#requests);
    const app = await this.#making.catch(() => null);
    if (app !== null) await disposeApp(app);
  }
}

class PeerApps implements AsyncDisposable {
  readonly #make: (peer: Peer) => App | Promise<App>;
  /** The apps, or those that are being made, by the ids of their peers. */
  readonly #apps = new Map<string, PeerApp>();
  /** The apps that are not disposed of yet, with those of forgotten peers. */
  readonly #alive = new Set<PeerApp>();
  readonly #sockets = new WeakMap<Session, Socket>();
  #disposing: Promise<void> | null = null;

  constructor(make: (peer: Peer) => App | Promise<App>) {
    this.#make = make;
  }

  connected(session: Session, sock: Socket): true {
    this.#sockets.set(session, sock);
    return true;
  }

  /** The app for the peer of a session. */
  of(session: Session): PeerApp {
    if (this.#disposing !== null) {
      throw new DeguError("the apps of the peers have been disposed of");
    }
    const peer = peerOf(session);
    const forgotten = trustOf(session)?.signal;
    forgotten?.throwIfAborted();
    const known = this.#apps.get(peer.id);
    if (known?.name === peer.name) return known;
    if (known !== undefined) this.#giveUp(known);
    return this.#begin(peer, forgotten);
  }

  /** Makes an app, and keeps it until its peer is forgotten; one that can't be made is not kept. */
  #begin(peer: Peer, forgotten: AbortSignal | undefined): PeerApp {
    const making = this.#made(peer);
    const app = new PeerApp(peer.name, making);
    this.#apps.set(peer.id, app);
    this.#alive.add(app);
    const remove = () => {
      forgotten?.removeEventListener("abort", forget);
      if (this.#apps.get(peer.id) === app) this.#apps.delete(peer.id);
    };
    const forget = () => {
      remove();
      this.#giveUp(app);
    };
    forgotten?.addEventListener("abort", forget);
    making.catch(() => {
      remove();
      this.#alive.delete(app);
    });
    return app;
  }

  /** Disposes of an app whose peer is forgotten, or has another name. */
  async #giveUp(app: PeerApp): Promise<void> {
    try {
      await app.dispose();
    } catch (error) {
      standardLogger.error(`the app of a former peer can't be disposed of: ${messageOf(error)}`);
    }
    this.#alive.delete(app);
  }

  async #made(peer: Peer): Promise<App> {
    const app = await this.#make(peer);
    readApp(app, "make()");
    return app;
  }

  /** Asks an app once for each session; a session without a server has no socket to ask about. */
  admits(
    { admissions }: PeerApp,
    session: Session,
    ask: NonNullable<AppObject["onConnect"]>,
  ): Promise<boolean> {
    const sock = this.#sockets.get(session);
    if (sock === undefined) return Promise.resolve(true);
    let admission = admissions.get(session);
    if (admission === undefined) {
      admission = (async () => await ask(session, sock) === true)();
      admissions.set(session, admission);
    }
    return admission;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposing ??= this.#dispose();
    return this.#disposing;
  }

  async #dispose(): Promise<void> {
    const results = await Promise.allSettled(Array.from(this.#alive, (app) => app.dispose()));
    const errors = results.flatMap((result) => result.status === "rejected" ? [result.reason] : []);
    if (errors.length > 1) throw new AggregateError(errors, "several apps can't be disposed of");
    if (errors.length === 1) throw errors[0];
  }
}
