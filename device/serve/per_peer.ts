import { ConnectionClosedError, type Socket } from "../../base.ts";
import type { App, AppObject, PeerIdentity, Session } from "../../server.ts";
import { checkFunction, wrongTypeError } from "../../internal/checks.ts";
import { readApp } from "../../base/app/app.ts";
import { sessionCoreOf } from "../../base/app/session.ts";
import type { Peer } from "../peers/peer_file.ts";

interface PeerOfSession {
  /** Returns the peer as last read from the disk. */
  readonly findPeer: () => Peer;
  /** Aborted at the end of the trust. */
  readonly signal?: AbortSignal;
}

const peersOfSessions = new WeakMap<Session, PeerOfSession>();

export function setPeerOf(session: Session, peer: PeerOfSession): void {
  peersOfSessions.set(session, peer);
}

/**
 * Returns the peer of a session of a {@linkcode DeviceServer}. The peer is identified by the
 * authority that has signed its certificate, and never by a name in the certificate. The returned
 * peer is as last read from the disk, even after the peer was forgotten.
 *
 * @param session A session of a device's server.
 * @throws {TypeError} if the session belongs to another server.
 *
 * @example An app that responds with the name of the peer
 * ```ts
 * import type { App } from "@degu/degu";
 * import { peerOf } from "@degu/degu/device";
 *
 * const app: App = (_request, session) => [200, "OK", { "x-peer": peerOf(session).name }, null];
 * ```
 */
export function peerOf(session: Session): Peer {
  const peerOfSession = peersOfSessions.get(session);
  if (peerOfSession === undefined) {
    const expected =
      "a session of a DeviceServer, not of another server, or of TempDevices.peerSession()";
    throw wrongTypeError("session", expected, session);
  }
  return peerOfSession.findPeer();
}

interface PeerApp {
  readonly name: string;
  readonly app: Promise<ReturnType<typeof readApp>>;
  readonly decisions: WeakMap<Session, Promise<boolean>>;
}

/**
 * Makes an app that passes the requests of each peer to a separate app, so that each peer can have
 * its own directory, limit or state.
 *
 * The app of a peer is made at the first request of the peer, and kept until the peer is forgotten.
 * After a `rename`, the next request gets a new app, so that rules by name apply at once. If `make`
 * fails, the request fails, and the next request calls `make` again. The `onConnect` of a peer's
 * app is called before the first request of each session. If `onConnect` returns `false`, the
 * session ends without a response. The `user` of a session stays the name of the
 * peer. Apps are not disposed of.
 *
 * @param make Makes the app of a peer.
 * @throws {TypeError} if `make` is not a function.
 *
 * @example
 * ```ts
 * import { type Peer, perPeer } from "@degu/degu/device";
 * import { TempDevices } from "@degu/degu/device/testing";
 * import { reply } from "@degu/degu";
 * import { callApp, mkreq } from "@degu/degu/misc";
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

  const findOrMakeApp = (session: Session): PeerApp => {
    const signal = peersOfSessions.get(session)?.signal;
    signal?.throwIfAborted();
    const peer = peerOf(session);
    const existingApp = apps.get(peer.id);
    if (existingApp?.name === peer.name) return existingApp;
    const app = (async () => readApp(await make(peer), "make()"))();
    const peerApp: PeerApp = { name: peer.name, app, decisions: new WeakMap() };
    apps.set(peer.id, peerApp);
    const remove = () => {
      if (apps.get(peer.id) === peerApp) apps.delete(peer.id);
    };
    app.catch(remove);
    signal?.addEventListener("abort", remove);
    return peerApp;
  };

  return {
    async handle(request, session, api) {
      const { app, decisions } = findOrMakeApp(session);
      const { handle, onConnect } = await app;
      const socket = sockets.get(session);
      let isAccepted = true;
      // A session without a server, as in tests, has no socket for `onConnect`.
      if (onConnect !== null && socket !== undefined) {
        const decide = () => applyDecision(session, onConnect(session, socket));
        isAccepted = await decisions.getOrInsertComputed(session, decide);
      }
      // The peer may have been forgotten meanwhile.
      peersOfSessions.get(session)?.signal?.throwIfAborted();
      if (isAccepted) return handle(request, session, api);
      session.close(new ConnectionClosedError("the app of the peer refuses this session"));
      return [403, "Forbidden", {}, null];
    },
    onConnect(session, socket) {
      sockets.set(session, socket);
      return true;
    },
  };
}

async function applyDecision(
  session: Session,
  result: Promise<PeerIdentity | boolean>,
): Promise<boolean> {
  const decision = await result;
  if (typeof decision === "boolean") return decision;
  const core = sessionCoreOf(session)!;
  core.addIdentity(decision);
  // The server asks this identity before later requests.
  return await core.ifTrusted(() => true);
}
