/** Paired devices, and peers that can violate the pairing protocol. */

import type { HostAddress } from "@degu/degu/base";
import type {
  ConfirmNumber,
  Invitation,
  InviteOptions,
  JoinOptions,
  Peer,
} from "@degu/degu/device";
import {
  decodeLine,
  encodeLine,
  type LineAddress,
} from "@degu/internal/device/pairing/invitation_line.ts";
import { authorityOf, identityOf, openDevice } from "@degu/testing/device_pairs.ts";
import { createTempDir, listNames } from "@degu/testing/directories.ts";
import { withTimeout } from "@degu/testing/raw_peer.ts";
import { RecordingLogger } from "@degu/testing/serving.ts";
import { decodeLatin1, encodeLatin1 } from "@degu/testing/wire_grammar.ts";
import { assertEquals } from "@std/assert";
import { join } from "@degu/internal/internal/paths.ts";
import { createHash } from "node:crypto";
import { once } from "node:events";
import * as net from "node:net";
import * as tls from "node:tls";

export const LOOPBACK: HostAddress[] = [["127.0.0.1", 0]];

/** Opens or creates a device whose invitations listen on loopback, with helpers for tests. */
async function open(dir: string, name: string, directoryName = name) {
  const logger = new RecordingLogger();
  const device = await openDevice(dir, directoryName, { name, logger });
  return {
    device,
    ...{ dir, name, id: device.id, logger },
    authority: await authorityOf(dir),
    identity: await identityOf(dir),
    invite: (options: InviteOptions = {}) =>
      device.invite({ listen: LOOPBACK, serving: [], ...options }),
    join: (line: string, options: JoinOptions = {}) =>
      awaitLater(device.join(line, { serving: [], ...options })),
    joinByNumber: (
      { addresses }: Pick<Invitation, "addresses">,
      confirm: ConfirmNumber,
      options: JoinOptions = {},
    ) => awaitLater(device.join(addresses, { serving: [], confirm, ...options })),
    peers: () => device.peers(),
    /** Returns the names of the files of the device's peers. */
    written: () => listNames(join(dir, "peers")),
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  };
}

/** Returns a promise whose rejection a test may handle later. */
function awaitLater<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

export type PairingDevice = Awaited<ReturnType<typeof open>>;
export const PairingDevice = { open };

/** Makes two or more devices, in a directory that is removed on dispose. */
export async function makeDevices<Name extends string>(
  ...names: readonly Name[]
): Promise<Record<Name, PairingDevice> & AsyncDisposable> {
  const { path, [Symbol.asyncDispose]: remove } = await createTempDir();
  const opening = names.map(async (name, index) => {
    const device = await PairingDevice.open(join(path, `${index}`), name, `${index}`);
    return [name, device] as const;
  });
  const entries = await Promise.all(opening);
  const devices = Object.fromEntries(entries) as Record<Name, PairingDevice>;
  const dispose = async () => {
    await Promise.all(entries.map(([, device]) => device[Symbol.asyncDispose]()));
    await remove();
  };
  return Object.assign(devices, { [Symbol.asyncDispose]: dispose });
}

/** Makes a camera with an open invitation, and other devices that can join it. */
export async function openInvitation<Name extends string>(
  others: readonly Name[],
  options: InviteOptions = {},
) {
  const devices = await makeDevices<"camera" | Name>("camera", ...others);
  return Object.assign(devices, { invitation: await devices.camera.invite(options) });
}

/** Opens an invitation that a person confirms. */
export async function openConfirmedInvitation<Name extends string>(
  others: readonly Name[],
  options: InviteOptions = {},
) {
  const inviter = makePerson();
  const setup = await openInvitation(others, { confirm: inviter.confirm, ...options });
  return Object.assign(setup, { inviter });
}

/** Pairs two devices, and returns the peer at each. */
export async function pair(
  inviter: PairingDevice,
  joiner: PairingDevice,
  inviteOptions: InviteOptions = {},
  joinOptions: JoinOptions = {},
): Promise<{ atInviter: Peer; atJoiner: Peer }> {
  await using invitation = await inviter.invite(inviteOptions);
  const [atJoiner, atInviter] = await withTimeout(
    Promise.all([joiner.join(invitation.line, joinOptions), invitation.paired]),
    "the devices are paired",
  );
  return { atInviter, atJoiner };
}

interface StrangerOptions {
  readonly identity?: { readonly cert: string; readonly key: string };
  /** The protocol names for ALPN. */
  readonly protocols?: readonly string[];
}

/** A raw connection to a port of an invitation. */
export class Stranger implements Disposable {
  readonly #closed = Promise.withResolvers<void>();
  #received = "";
  /** The number of received characters that were returned as responses. */
  #readCount = 0;
  #heard = Promise.withResolvers<void>();

  private constructor(readonly socket: net.Socket) {
    socket.on("data", (data: Uint8Array) => {
      this.#received += decodeLatin1(data);
      this.#heard.resolve();
      this.#heard = Promise.withResolvers();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#closed.resolve();
      this.#heard.resolve();
    });
  }

  /** Connects, and waits for the handshake; rejects if the handshake fails. */
  static async connect(
    [host, port]: readonly [string, number],
    { identity, protocols = ["degu-pair/2"] }: StrangerOptions = {},
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
      await withTimeout(shaken.promise, "the handshake of a stranger");
    } catch (error) {
      socket.destroy();
      throw error;
    }
    return stranger;
  }

  static async connectPlain([host, port]: readonly [string, number]): Promise<Stranger> {
    const socket = net.connect({ host, port });
    const stranger = new Stranger(socket);
    await withTimeout(once(socket, "connect"), "a stranger connects");
    return stranger;
  }

  write(text: string | Uint8Array): void {
    this.socket.write(text);
  }

  post(uri: string, body: unknown): void {
    this.write(requestOf(uri, body));
  }

  get received(): string {
    return this.#received;
  }

  /** Waits until the other end closes; resolves to all received text. */
  async waitForEnd(): Promise<string> {
    await withTimeout(this.#closed.promise, "a stranger's connection closes");
    return this.#received;
  }

  /**
   * Waits for the next response, which must be complete and have this status; resolves to its JSON
   * body.
   */
  async readResponse(status: number): Promise<Record<string, unknown>> {
    const text = await this.readResponseText(status);
    return text === "" ? {} : JSON.parse(text);
  }

  /** Like `readResponse()`, but resolves to the body as text, with one character for each byte. */
  async readResponseText(status: number): Promise<string> {
    for (;;) {
      const unread = this.#received.slice(this.#readCount);
      const [head = ""] = unread.split("\r\n\r\n");
      const length = Number(/^content-length: (\d+)$/m.exec(head)?.[1] ?? 0);
      const begin = head.length + 4;
      if (unread.length >= begin + length) {
        if (!head.startsWith(`HTTP/1.1 ${status} `)) throw new Error(`got ${head}`);
        this.#readCount += begin + length;
        return unread.slice(begin, begin + length);
      }
      if (this.socket.destroyed) throw new Error(`closed after ${JSON.stringify(this.#received)}`);
      await withTimeout(this.#heard.promise, `an answer; got ${this.#received}`);
    }
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** Formats a message with a JSON or text body. */
export function messageOf(line: string, body: unknown): string {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const { length } = new TextEncoder().encode(text);
  return `${line}\r\ncontent-length: ${length}\r\n\r\n${text}`;
}

export const requestOf = (uri: string, body: unknown) => messageOf(`POST ${uri} HTTP/1.1`, body);

/** Returns the first message of a device that has the line. */
export function introductionOf(line: string, device: PairingDevice): Record<string, unknown> {
  return {
    secret: base64url(decodeLine(line).secret),
    authority: base64url(device.authority.raw),
    name: device.name,
    addresses: [],
  };
}

export function base64url(bytes: Uint8Array): string {
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

/** Returns the TLS address of an invitation. */
export function addressOf({ line }: Pick<Invitation, "line">): readonly [string, number] {
  const [host, port] = lineAddressOf({ line });
  return [host, port];
}

/** Returns the address of an invitation, with both ports. */
export function lineAddressOf({ line }: Pick<Invitation, "line">): LineAddress {
  return decodeLine(line).addresses[0]!;
}

/** Replaces the addresses of a line. By default, the plain port is that of the first address. */
export function lineWith(
  line: string,
  addresses: (readonly [string, number, plainPort?: number])[],
): string {
  const [, , defaultPlainPort] = lineAddressOf({ line });
  const lineAddresses = addresses.map((
    [host, port, plainPort = defaultPlainPort],
  ): LineAddress => [host, port, plainPort]);
  return encodeLine({ ...decodeLine(line), addresses: lineAddresses });
}

/** Sends the first step over a separate connection, and returns the value of the response. */
export async function sendFirstStep(
  invitation: Invitation,
  device: PairingDevice,
  changes: Record<string, unknown> = {},
): Promise<unknown> {
  using stranger = await Stranger.connect(addressOf(invitation));
  stranger.post("/secret", { ...introductionOf(invitation.line, device), ...changes });
  return (await stranger.readResponse(200))["value"];
}

/** Sends the second step with the certificate of a device, which is paired by it. */
export async function completeSecondStep(
  invitation: Invitation,
  value: unknown,
  device: { readonly id: string } & StrangerOptions,
): Promise<void> {
  using stranger = await Stranger.connect(addressOf(invitation), device);
  stranger.post("/value", { value });
  await stranger.readResponse(204);
  stranger.socket.end();
  assertEquals((await withTimeout(invitation.paired, "the line pairs")).id, device.id);
}

/** Sends the second step, and returns the received bytes: none if the handshake was refused. */
export async function sendSecondStep(
  invitation: Invitation,
  value: unknown,
  options: StrangerOptions = {},
): Promise<string> {
  try {
    using stranger = await Stranger.connect(addressOf(invitation), options);
    stranger.post("/value", { value });
    return await stranger.waitForEnd();
  } catch {
    return "";
  }
}

// Pairing by number, implemented from the documentation without the library.

/** Returns the address of an invitation for plain HTTP. */
export function plainOf({ addresses }: Pick<Invitation, "addresses">): readonly [string, number] {
  return addresses[0] as HostAddress;
}

function sha256(...parts: (string | Uint8Array)[]): Uint8Array {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** Makes the first message of a joiner, and the random value of its commitment. */
export function commitmentOf({ authority: { raw: der }, name }: PairingDevice) {
  const random = crypto.getRandomValues(new Uint8Array(32));
  const commitment = base64url(sha256("degu-pair commitment 2", der, random));
  return { random, fields: { authority: base64url(der), name, addresses: [], commitment } };
}

/** Computes the number from both bodies and the random value. */
export function numberOf(request: string, response: string, random: Uint8Array): string {
  const hashes = [request, response].map((text) => sha256(encodeLatin1(text)));
  const hash = sha256("degu-pair number 2", ...hashes, random);
  const integer = new DataView(hash.buffer, hash.byteOffset).getBigUint64(0);
  return String(integer % 1_000_000n).padStart(6, "0");
}

/** A joiner by number that sends raw messages. */
export class RawJoiner implements Disposable {
  private constructor(
    readonly device: PairingDevice,
    readonly stranger: Stranger,
    readonly random: Uint8Array,
    readonly number: string,
    readonly address: readonly [string, number],
  ) {}

  /** Sends a commitment, which must be accepted. */
  static async commit(
    invitation: Pick<Invitation, "addresses">,
    device: PairingDevice,
    write: (fields: object) => string = JSON.stringify,
  ): Promise<RawJoiner> {
    const stranger = await Stranger.connectPlain(plainOf(invitation));
    const { random, fields } = commitmentOf(device);
    const request = write(fields);
    stranger.post("/commitment", request);
    const response = await stranger.readResponseText(200);
    const number = numberOf(request, response, random);
    const address = [plainOf(invitation)[0], JSON.parse(response).port] as const;
    return new RawJoiner(device, stranger, random, number, address);
  }

  /** Sends a commitment and its random value, so that the inviter asks its user. */
  static async startQuestion(
    invitation: Pick<Invitation, "addresses">,
    device: PairingDevice,
  ): Promise<RawJoiner> {
    const joiner = await RawJoiner.commit(invitation, device);
    await joiner.reveal();
    return joiner;
  }

  /** Sends the random value, or another body. */
  async reveal(body: unknown = { random: base64url(this.random) }): Promise<void> {
    this.stranger.post("/random", body);
    const text = await this.stranger.readResponseText(200);
    if (text !== "{}") throw new Error(`got ${text}`);
  }

  /**
   * Reconnects over TLS, by default with the device's certificate, and requests the confirmation.
   */
  async confirm(options: StrangerOptions = this.device, body: unknown = {}): Promise<Stranger> {
    const stranger = await Stranger.connect(this.address, options);
    stranger.post("/confirmed", body);
    return stranger;
  }

  [Symbol.dispose](): void {
    this.stranger[Symbol.dispose]();
  }
}

/** A user that receives questions, and replies when the test says so. */
export function makePerson() {
  const questions: Question[] = [];
  let questionAdded = Promise.withResolvers<void>();
  const confirm: ConfirmNumber = (question) => {
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    questions.push({ ...question, reply: resolve, fail: reject });
    questionAdded.resolve();
    return promise;
  };
  let takenCount = 0;
  return {
    confirm,
    questions,
    async waitForQuestion(): Promise<Question> {
      while (questions.length <= takenCount) {
        questionAdded = Promise.withResolvers();
        await withTimeout(questionAdded.promise, "confirm is called");
      }
      return questions[takenCount++]!;
    },
  };
}

type Question = Parameters<ConfirmNumber>[0] & {
  reply(value: boolean): void;
  fail(error: unknown): void;
};

/** Counts the lines of a device's log that have this text. */
export const countLines = (
  { logger }: PairingDevice,
  level: "debug" | "info" | "warn",
  text: string,
) => logger.messagesOf(level).filter((line) => line.includes(text)).length;
