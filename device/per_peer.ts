/** An app of its own for each peer. */

import { ConnectionClosedError, type Socket } from "../base.ts";
import type { App, AppObject, Session } from "../server.ts";
import { type OnConnect, readApp } from "../base/app/app.ts";
import { parseConnectResult } from "../base/app/peer_identity.ts";
import { addIdentity } from "../base/app/session.ts";
import { checkFunction } from "../internal/checks.ts";
import { peerOf, trustSignalOf } from "./device_server.ts";
import type { Peer } from "./peer_store.ts";

/** The app of a peer, and what its `onConnect` has answered to each session. */
interface PeerApp {
  /** The name of the peer for which the app was made. */
  readonly name: string;
  readonly made: Promise<ReturnType<typeof readApp>>;
  readonly admissions: WeakMap<Session, Promise<boolean>>;
}

/**
 * Makes an app that hands the requests of each peer to an app of that peer's own: a directory for
 * each, a limit for each, a state for each.
 *
 * The app of a peer is made at its first request, and kept until the peer is forgotten. A request
 * under another name gets a new app, so that rules by name hold at once. If `make` fails, the
 * request fails, and the next one tries again. The `onConnect` of a peer's app is asked before the
 * first request of each session; if it returns neither `true` nor an identity, the session ends
 * without an answer. The peer keeps the name that the device knows it by.
 * Apps are not disposed of: what they hold belongs to the program.
 *
 * @param make Makes the app of a peer.
 * @throws {TypeError} if `make` is not a function.
 *
 * @example
 * ```ts
 * import { type Peer, perPeer } from "@degu/degu/device";
 * import { reply } from "@degu/degu";
 * import { callApp, mkreq, TempDevices } from "@degu/degu/misc";
 * import { assertEquals } from "@std/assert";
 *
 * const app = perPeer((peer: Peer) => {
 *   let requests = 0;
 *   return () => reply(200, `${peer.name}: ${++requests}`);
 * });
 * await using temp = await TempDevices.create("camera", "viewer");
 * const counts = [];
 * for (const name of ["camera", "viewer", "camera"] as const) {
 *   const session = temp.peerSession(name);
 *   counts.push(await (await callApp(app, mkreq("GET", "/"), { session })).text());
 * }
 * assertEquals(counts, ["camera: 1", "viewer: 1", "camera: 2"]);
 * ```
 */
export function perPeer(make: (peer: Peer) => App | Promise<App>): AppObject {
  checkFunction("make", make);
  const apps = new Map<string, PeerApp>();
  const sockets = new WeakMap<Session, Socket>();

  const appOf = (session: Session): PeerApp => {
    const signal = trustSignalOf(session);
    signal?.throwIfAborted();
    const peer = peerOf(session);
    const known = apps.get(peer.id);
    if (known?.name === peer.name) return known;
    const made = (async () => readApp(await make(peer), "make()"))();
    const app: PeerApp = { name: peer.name, made, admissions: new WeakMap() };
    apps.set(peer.id, app);
    const remove = () => {
      if (apps.get(peer.id) === app) apps.delete(peer.id);
    };
    made.catch(remove);
    signal?.addEventListener("abort", remove);
    return app;
  };

  return {
    async handle(request, session, api) {
      const { made, admissions } = appOf(session);
      const { handle, onConnect } = await made;
      // The peer may have been forgotten meanwhile.
      trustSignalOf(session)?.throwIfAborted();
      const socket = sockets.get(session);
      // A session without a server has no socket to ask about.
      if (onConnect === null || socket === undefined) return handle(request, session, api);
      const admission = admissions.get(session) ?? admit(session, onConnect(session, socket));
      admissions.set(session, admission);
      if (await admission) return handle(request, session, api);
      session.close(new ConnectionClosedError("the app of the peer refuses this session"));
      return [403, "Forbidden", {}, null];
    },
    onConnect(session, socket) {
      sockets.set(session, socket);
      return true;
    },
  };
}

/** Reads what the `onConnect` of a peer's app has returned; returns whether it accepts. */
async function admit(session: Session, returning: ReturnType<OnConnect>): Promise<boolean> {
  const decision = parseConnectResult(await returning);
  if (typeof decision === "boolean") return decision;
  addIdentity(session, decision);
  return await session.isTrusted();
}
