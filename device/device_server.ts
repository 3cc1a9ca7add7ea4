/**
 * The server of a device, for its peers only.
 *
 * @module
 */

import { guardSession, nameUser, Session } from "../base/app/session.ts";
import { type App, type AppObject, type OnConnect, readApp, type Socket } from "../base/app/app.ts";
import { ConnectionClosedError, typeName } from "../base/errors.ts";
import type { Address } from "../base/address_rules.ts";
import { type ServerOptions, SSLServer } from "../server.ts";
import { hasSigned } from "../identity/authority.ts";
import type { DeviceIdentity } from "../identity/device_identity.ts";
import type { DeviceParts } from "./device_services.ts";
import type { PeerLives } from "./trust_signals.ts";
import type { ServingRecord, ServingRecords } from "./serving_records.ts";
import { deviceId } from "../identity/names.ts";
import type { Peer } from "./peer.ts";
import type { PeerStore } from "./peer_store.ts";

/** What a server needs from its device. */
export interface ServerParts extends DeviceParts {
  readonly identity: DeviceIdentity;
  readonly serving: ServingRecords;
  readonly lives: PeerLives;
}

/**
 * A server that accepts only the peers of a device. {@linkcode Device.prototype.listen} creates one.
 *
 * A client needs a certificate that a peer's authority has signed directly. Whether that peer is still
 * trusted is read from the disk once the handshake and the app's `onConnect` are done. Pairings,
 * forgetting and renewals, by any process, take effect while it runs: the sessions of a peer that is
 * forgotten end within a second.
 *
 * @example
 * ```ts
 * import { Device, peerOf } from "@degu/degu/device";
 *
 * const dir = await Deno.makeTempDir();
 * {
 *   await using device = await Device.open(dir, { name: "camera" });
 *   await using server = device.listen(
 *     ["127.0.0.1", 0],
 *     (_request, session) => [200, "OK", {}, new TextEncoder().encode(peerOf(session).name)],
 *   );
 *   server.serveForever();
 *   await server.ready;
 * }
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export class DeviceServer extends SSLServer {
  readonly #parts: ServerParts;
  readonly #unsubscribe: readonly (() => void)[];
  readonly #prepared: Promise<void>;
  #record: ServingRecord | null = null;
  #left: Promise<void> | null = null;
  readonly #gone = Promise.withResolvers<void>();
  #served: Promise<void> | null = null;

  /**
   * Created by {@linkcode Device.prototype.listen}.
   *
   * @internal
   */
  constructor(parts: ServerParts, address: Address, app: App, options: ServerOptions) {
    super(contextOf(parts), address, forPeers(parts, app), withLogger(options, parts));
    this.#parts = parts;
    this.#unsubscribe = [
      parts.peers.onChange(() => this.#follow()),
      parts.identity.onRenewal(() => this.#follow()),
    ];
    this.#prepared = this.#prepare();
    // serveForever() and `ready` report it.
    this.#prepared.catch(() => {});
  }

  /** Resolves when the address is bound and recorded, and the peers are read. */
  override get ready(): Promise<void> {
    return this.#prepared;
  }

  /**
   * Rejects every context: pairing and forgetting decide which peers a device trusts.
   *
   * @throws {TypeError} always.
   */
  override setSslctx(): never {
    throw new TypeError(
      "a device's server trusts the peers of the device: use device.invite(), join() and forget()",
    );
  }

  async #prepare(): Promise<void> {
    try {
      await super.ready;
      // Earlier changes by other processes apply from the first connection on.
      await this.#parts.peers.refresh();
      await this.#goOnRecord();
    } catch (error) {
      super.close();
      await this.#leave();
      throw error;
    }
  }

  async #goOnRecord(): Promise<void> {
    if (this.#left !== null) return;
    try {
      this.#record = await this.#parts.serving.add(this.address);
      if (this.#left !== null) await this.#takeRecord();
    } catch (error) {
      this.#parts.logger.warn(`the address of a server can't be recorded: ${error}`);
    }
  }

  /** Trusts the current peers, and ends the sessions of all others. */
  #follow(): void {
    const known = new Set(this.#parts.peers.current.map(({ id }) => id));
    for (const session of this.sessions) {
      if (known.has(idOfSession(session) ?? "")) continue;
      session.close(new ConnectionClosedError("the peer was forgotten"));
    }
    super.setSslctx(contextOf(this.#parts));
  }

  /**
   * Serves connections until {@linkcode DeviceServer.prototype.close} or
   * {@linkcode DeviceServer.prototype.shutdown}; then the address is free.
   */
  override serveForever(): Promise<void> {
    this.#served ??= this.#serveAndLeave();
    return this.#served;
  }

  async #serveAndLeave(): Promise<void> {
    try {
      await super.serveForever();
    } finally {
      await this.#leave();
    }
  }

  /** Closes the listener and every connection at once. */
  override close(): void {
    super.close();
    this.#leave();
  }

  /** As for every server; the recorded address is removed first. */
  override async shutdown(): Promise<void> {
    const record = this.#takeRecord();
    await super.shutdown();
    await record;
    await this.#leave();
  }

  /** Closes the server: {@linkcode DeviceServer.prototype.close}. */
  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    await this.#prepared.catch(() => {});
    await this.#leave();
  }

  /**
   * Resolves when it no longer serves.
   *
   * @internal
   */
  get left(): Promise<void> {
    return this.#gone.promise;
  }

  /** Unregisters the server. */
  #leave(): Promise<void> {
    this.#left ??= (async () => {
      for (const unsubscribe of this.#unsubscribe) unsubscribe();
      await this.#takeRecord();
      this.#gone.resolve();
    })();
    return this.#left;
  }

  async #takeRecord(): Promise<void> {
    const record = this.#record;
    this.#record = null;
    await record?.remove();
  }
}

/** Adds the device's logger if the options have none; the server checks invalid options. */
function withLogger(options: ServerOptions, { logger }: DeviceParts): ServerOptions {
  return options?.logger === undefined && typeof options === "object" && options !== null
    ? { ...options, logger }
    : options;
}

function contextOf({ peers, sslconfig }: DeviceParts) {
  return { ca: peers.current.map(({ certificate }) => certificate), ...sslconfig() };
}

/** Wraps an app so that it serves only peers. */
function forPeers(parts: ServerParts, app: App): AppObject {
  const { handle, onConnect } = readApp(app, "app");
  return {
    handle,
    onConnect: (session, sock) => admit(parts, onConnect, session, sock),
  };
}

async function admit(
  { peers, logger, lives }: ServerParts,
  onConnect: OnConnect | null,
  session: Session,
  sock: Socket,
): Promise<boolean> {
  const id = idOfSession(session);
  const peer = peers.current.find((each) => each.id === id);
  if (peer === undefined) return false;
  if (!hasSigned(peer.certificate, session.peerCertificate!.raw)) {
    logger.info(`${session}: the peer's authority has not signed its certificate directly`);
    return false;
  }
  rememberPeer(session, peers, peer);
  const isAdmitted = async () => await peers.read(peer.id) !== null;
  guardSession(session, isAdmitted);
  // It is not yet one of the server's sessions, and the app may take time.
  const life = lives.signalOf(peer.id);
  const end = () => session.close(life.reason);
  life.addEventListener("abort", end);
  try {
    if (onConnect !== null && await onConnect(session, sock) !== true) return false;
    return await isAdmitted();
  } finally {
    life.removeEventListener("abort", end);
  }
}

interface Known {
  readonly store: PeerStore;
  /** The peer as it was when it connected. */
  readonly peer: Peer;
}

const sessions = new WeakMap<Session, Known>();

/** Records which peer a session belongs to. For servers. */
export function rememberPeer(session: Session, store: PeerStore, peer: Peer): void {
  sessions.set(session, { store, peer });
  nameUser(session, () => peerOf(session).name);
}

/** The id of the device whose authority has vouched for the peer of a session; `null` without one. */
export function idOfSession({ peerCertificate }: Session): string | null {
  const authority = peerCertificate?.authority ?? null;
  if (authority === null) return null;
  return deviceId(Uint8Array.fromHex(authority.publicKey256.replaceAll(":", "")));
}

/**
 * Returns the peer of a session of a {@linkcode DeviceServer}: identified by the authority that has signed its
 * certificate, never by a name in it. It is as it was last read, even after it was forgotten.
 *
 * @param session A session of a device's server.
 * @throws {TypeError} if the session belongs to another server.
 *
 * @example An app that knows who asks
 * ```ts
 * import { type App, peerOf } from "@degu/degu/device";
 *
 * const app: App = (_request, session) => [200, "OK", { "x-peer": peerOf(session).name }, null];
 * ```
 */
export function peerOf(session: Session): Peer {
  if (!(session instanceof Session)) {
    throw new TypeError(`session: need a session; got ${typeName(session)}`);
  }
  const known = sessions.get(session);
  if (known === undefined) {
    throw new TypeError("session: need one of a DeviceServer; this one is of another server");
  }
  return known.store.current.find(({ id }) => id === known.peer.id) ?? known.peer;
}
