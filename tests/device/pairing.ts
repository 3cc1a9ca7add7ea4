/** Paired devices, and peers that can break the pairing protocol. */

import type { HostAddress } from "@degu/degu/base";
import type { Invitation, InviteOptions, JoinOptions, Peer } from "@degu/degu/device";
import { decodeLine, encodeLine } from "@degu/internal/device/invitation_line.ts";
import { authorityOf, identityOf, openDevice } from "@degu/testing/device_pairs.ts";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { within } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { join } from "@std/path";
import * as tls from "node:tls";

/** Where the invitations of tests wait. */
export const LOOPBACK: HostAddress[] = [["127.0.0.1", 0]];

/** A device whose invitations wait on loopback, and everything that a test has to know of it; it is made where there is none. */
async function open(dir: string, name: string, part = name) {
  const logger = new RecordingLogger();
  const device = await openDevice(dir, part, { name, logger });
  return {
    device,
    ...{ dir, name, id: device.id, logger },
    authority: await authorityOf(dir),
    identity: await identityOf(dir),
    invite: (options: InviteOptions = {}) =>
      device.invite({ listen: LOOPBACK, serving: [], ...options }),
    join: (line: string, options: JoinOptions = {}) =>
      device.join(line, { serving: [], ...options }),
    peers: () => device.peers(),
    /** The names of the files of its peers. */
    written: () => entries(join(dir, "peers")),
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  };
}

export type PairingDevice = Awaited<ReturnType<typeof open>>;
export const PairingDevice = { open };

/** Two or more devices, in a directory that is removed on dispose. */
export async function makeDevices<Name extends string>(
  ...names: readonly Name[]
): Promise<Record<Name, PairingDevice> & AsyncDisposable> {
  const { path, [Symbol.asyncDispose]: remove } = await tempDir();
  const opened = names.map(async (name, index) => {
    const device = await PairingDevice.open(join(path, `${index}`), name, `${index}`);
    return [name, device] as const;
  });
  const devices = Object.fromEntries(await Promise.all(opened)) as Record<Name, PairingDevice>;
  const dispose = async () => {
    await Promise.all(
      Object.values<PairingDevice>(devices).map((each) => each[Symbol.asyncDispose]()),
    );
    await remove();
  };
  return Object.assign(devices, { [Symbol.asyncDispose]: dispose });
}

/** A camera with an open invitation, and others that may join it. */
export async function openInvitation<Name extends string>(
  others: readonly Name[],
  options: InviteOptions = {},
) {
  const devices = await makeDevices<"camera" | Name>("camera", ...others);
  return Object.assign(devices, { invitation: await devices.camera.invite(options) });
}

/** Pairs two devices, and returns what both were told. */
export async function pair(
  inviter: PairingDevice,
  joiner: PairingDevice,
  inviteOptions: InviteOptions = {},
  joinOptions: JoinOptions = {},
): Promise<{ atInviter: Peer; atJoiner: Peer }> {
  await using invitation = await inviter.invite(inviteOptions);
  const [atJoiner, atInviter] = await within(
    Promise.all([joiner.join(invitation.line, joinOptions), invitation.paired]),
    "the two are paired",
  );
  return { atInviter, atJoiner };
}

/** How a stranger connects. */
interface StrangerOptions {
  readonly identity?: { readonly cert: string; readonly key: string };
  /** The names by ALPN. */
  readonly protocols?: readonly string[];
}

/** A connection to the port of an invitation, in bytes. */
export class Stranger implements Disposable {
  readonly #closed = Promise.withResolvers<{ received: string; error: Error | null }>();
  #received = "";
  #heard = Promise.withResolvers<void>();

  private constructor(readonly socket: tls.TLSSocket) {
    let failure: Error | null = null;
    socket.on("data", (data: Uint8Array) => {
      this.#received += new TextDecoder("latin1").decode(data);
      this.#heard.resolve();
      this.#heard = Promise.withResolvers();
    });
    socket.on("error", (error) => failure = error);
    socket.on("close", () => {
      this.#closed.resolve({ received: this.#received, error: failure });
      this.#heard.resolve();
    });
  }

  /** Connects, and waits for the handshake; rejects where that fails. */
  static async connect(
    [host, port]: readonly [string, number],
    { identity, protocols = ["degu-pair/1"] }: StrangerOptions = {},
  ): Promise<Stranger> {
    const socket = tls.connect({
      host,
      port,
      rejectUnauthorized: false,
      ...(protocols.length === 0 ? {} : { ALPNProtocols: [...protocols] }),
      ...identity,
    });
    const stranger = new Stranger(socket);
    const shaken = Promise.withResolvers<void>();
    socket.once("secureConnect", () => shaken.resolve());
    socket.once("error", (error) => shaken.reject(error));
    socket.once("close", () => shaken.reject(new Error("closed in the handshake")));
    try {
      await within(shaken.promise, "the handshake of a stranger");
    } catch (error) {
      socket.destroy();
      throw error;
    }
    return stranger;
  }

  /** Sends bytes. */
  write(text: string | Uint8Array): void {
    this.socket.write(text);
  }

  /** Sends a request. */
  post(uri: string, body: unknown): void {
    this.write(requestOf(uri, body));
  }

  /** Everything that was received once the other end has closed. */
  async end(seconds?: number): Promise<string> {
    return (await within(this.#closed.promise, "a stranger is hung up on", seconds)).received;
  }

  /** The body of an answer, which must have come whole with this status. */
  async answer(status: number): Promise<Record<string, unknown>> {
    for (;;) {
      const [head = "", body] = this.#received.split("\r\n\r\n");
      const length = Number(/^content-length: (\d+)$/m.exec(head)?.[1] ?? 0);
      if (body !== undefined && body.length >= length) {
        if (!head.startsWith(`HTTP/1.1 ${status} `)) throw new Error(`got ${head}`);
        return length === 0 ? {} : JSON.parse(body);
      }
      if (this.socket.destroyed) throw new Error(`closed after ${JSON.stringify(this.#received)}`);
      await within(this.#heard.promise, `an answer; got ${this.#received}`);
    }
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** A message with a JSON body, or with a text as its body. */
export function messageOf(line: string, body: unknown): string {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const { length } = new TextEncoder().encode(text);
  return `${line}\r\ncontent-length: ${length}\r\n\r\n${text}`;
}

export const requestOf = (uri: string, body: unknown) => messageOf(`POST ${uri} HTTP/1.1`, body);

/** What a device that has the line says first. */
export function introductionOf(line: string, device: PairingDevice): Record<string, unknown> {
  return {
    secret: base64url(decodeLine(line).secret),
    authority: base64url(device.authority.der),
    name: device.name,
    addresses: [],
  };
}

/** Bytes as pairing writes them. */
export function base64url(bytes: Uint8Array): string {
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

/** Where an invitation waits. */
export function addressOf({ line }: Pick<Invitation, "line">): readonly [string, number] {
  return decodeLine(line).addresses[0]!;
}

/** A line that leads elsewhere. */
export function lineWith(line: string, addresses: (readonly [string, number])[]): string {
  return encodeLine({ ...decodeLine(line), addresses });
}

/** Takes the first step as a device would, and returns the value of the answer, for a connection of its own. */
export async function introduce(
  invitation: Invitation,
  device: PairingDevice,
  changes: Record<string, unknown> = {},
): Promise<unknown> {
  using stranger = await Stranger.connect(addressOf(invitation));
  stranger.post("/secret", { ...introductionOf(invitation.line, device), ...changes });
  return (await stranger.answer(200))["value"];
}

/** Takes the second step; returns all that was received, which is nothing if the handshake was refused. */
export async function sendValue(
  invitation: Invitation,
  value: unknown,
  options: StrangerOptions = {},
): Promise<string> {
  try {
    using stranger = await Stranger.connect(addressOf(invitation), options);
    stranger.post("/value", { value });
    return await stranger.end();
  } catch {
    return "";
  }
}
