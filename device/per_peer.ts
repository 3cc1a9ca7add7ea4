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
 * peer is forgotten or the whole is disposed of; then it is disposed of, too, if it has
 * `[Symbol.asyncDispose]` or `[Symbol.dispose]`. If `make` fails, the request fails, and the next
 * one tries again. The `onConnect` of a peer's app is asked before the first request of each
 * session; if it does not return `true`, the session ends without an answer.
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
      const { handle, onConnect } = readApp(await apps.of(session), "make()");
      if (onConnect === null || await apps.admits(session, onConnect)) {
        return handle(request, session, api);
      }
      session.close(new ConnectionClosedError("the app of the peer refuses this session"));
      return [403, "Forbidden", {}, null];
    },
    onConnect: (session, sock) => apps.connected(session, sock),
    [Symbol.asyncDispose]: () => apps[Symbol.asyncDispose](),
  };
}

class PeerApps implements AsyncDisposable {
  readonly #make: (peer: Peer) => App | Promise<App>;
  /** The apps, or those that are being made, by the ids of their peers. */
  readonly #apps = new Map<string, Promise<App>>();
  readonly #sockets = new WeakMap<Session, Socket>();
  readonly #admissions = new WeakMap<Session, Promise<boolean>>();
  #isDisposed = false;

  constructor(make: (peer: Peer) => App | Promise<App>) {
    this.#make = make;
  }

  connected(session: Session, sock: Socket): true {
    this.#sockets.set(session, sock);
    return true;
  }

  /** The app for the peer of a session. */
  async of(session: Session): Promise<App> {
    if (this.#isDisposed) throw new DeguError("the apps of the peers have been disposed of");
    const peer = peerOf(session);
    let app = this.#apps.get(peer.id);
    if (app === undefined) {
      app = this.#made(peer);
      this.#apps.set(peer.id, app);
      this.#keep(peer.id, app, trustOf(session)?.signal);
    }
    return await app;
  }

  async #made(peer: Peer): Promise<App> {
    const app = await this.#make(peer);
    readApp(app, "make()");
    return app;
  }

  /** Keeps an app until its peer is forgotten; an app that could not be made is not kept. */
  async #keep(id: string, making: Promise<App>, forgotten: AbortSignal | undefined): Promise<void> {
    let app: App;
    try {
      app = await making;
    } catch {
      this.#apps.delete(id);
      return;
    }
    const forget = async () => {
      // The whole may have been disposed of.
      if (!this.#apps.delete(id)) return;
      try {
        await disposeApp(app);
      } catch (error) {
        standardLogger.error(
          `the app of a forgotten peer can't be disposed of: ${messageOf(error)}`,
        );
      }
    };
    if (forgotten?.aborted) await forget();
    else forgotten?.addEventListener("abort", forget, { once: true });
  }

  /** Asks an app once for each session; a session without a server has no socket to ask about. */
  admits(session: Session, ask: NonNullable<AppObject["onConnect"]>): Promise<boolean> {
    const sock = this.#sockets.get(session);
    if (sock === undefined) return Promise.resolve(true);
    let admission = this.#admissions.get(session);
    if (admission === undefined) {
      admission = (async () => await ask(session, sock) === true)();
      this.#admissions.set(session, admission);
    }
    return admission;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    await using disposing = new AsyncDisposableStack();
    for (const app of this.#apps.values()) {
      const made = await app.catch(() => null);
      if (made !== null) disposing.defer(() => disposeApp(made));
    }
    this.#apps.clear();
  }
}
