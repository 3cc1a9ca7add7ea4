/**
 * The end of a pairing that joins.
 *
 * @module
 */

import type { Address, HostAddress } from "../base/address_rules.ts";
import { copyOptions } from "../base/checks.ts";
import { DeguError, EmptyPreambleError, ProtocolError, TlsError } from "../base/errors.ts";
import { pause } from "../base/pause.ts";
import { Client, type Connection, type Connector } from "../client.ts";
import { type Authority, hasSigned, readAuthority } from "../identity/authority.ts";
import { isDeviceName } from "../identity/names.ts";
import { JoinedSignal } from "../net/connect.ts";
import { checkSignal } from "../net/request_signal.ts";
import { parseCertificate } from "../net/tls/certificate.ts";
import { connectTls } from "../net/tls/client_handshake.ts";
import { type ClientSslctx, clientSslctxOf } from "../net/tls/context.ts";
import { isUnreachable, systemCode } from "../net/thrown.ts";
import { raceAddresses } from "./address_race.ts";
import type { DeviceServices } from "./device_services.ts";
import { decodeLine, type InvitationLine, needsScope } from "./invitation_line.ts";
import {
  addressFinder,
  linkLocalScopes,
  scopeOfConnection,
  withScope,
} from "./pairing_addresses.ts";
import {
  type Answer,
  decodeAnswer,
  encodeIntroduction,
  encodeValue,
  MAX_MESSAGE_BYTES,
  PAIRING_PROTOCOL,
  SECRET_URI,
  VALUE_URI,
} from "./pairing_messages.ts";
import type { Peer } from "./peer.ts";

/** Options of joining. */
export interface JoinOptions {
  /** What to name the other device here, instead of its own name. */
  peerName?: string | undefined;
  /**
   * Where this device can be reached later: up to 6 addresses, which the other device stores.
   *
   * @default {where servers of this directory listen now}
   */
  serving?: readonly Address[] | undefined;
  /** Cancels joining, which rejects with its reason; no effect once the other device has answered. */
  signal?: AbortSignal | undefined;
}

const OPTIONS = ["peerName", "serving", "signal"];
/** Limits all of it, in seconds, whatever the other side does. */
const WHOLE_SECONDS = 60;

/** Seconds for connecting, the handshake and each wait: the other side may have to wait for its disk. */
const WAIT_SECONDS = 20;
/**
 * How often a handshake that the other side cuts is tried: strangers who crowd the port can have it cut,
 * and then the next one has a good chance.
 */
const MAX_TRIES = 10;
/** The wait before the second try; it doubles, up to the longest. All waits together take 4 s at most. */
const FIRST_PAUSE_MILLISECONDS = 50;
const LONGEST_PAUSE_MILLISECONDS = 600;

/** Pairs with the device that a line is from: what `Device.join()` does. */
export async function joinDevice(
  services: DeviceServices,
  line: string,
  options: JoinOptions = {},
): Promise<Peer> {
  const { peerName, serving, signal } = copyOptions(options, OPTIONS);
  checkSignal(signal);
  const findAddresses = addressFinder(services, serving);
  const invitation = decodeLine(line);
  const authority = await readAuthority(invitation.authority);
  if (authority.id === services.identity.authority.id) {
    throw new RangeError(
      "line: it is from this device itself, or from a copy of its directory: a device can't be paired " +
        "with itself, and each device needs a directory of its own",
    );
  }
  if (peerName !== undefined) await services.peers.checkFree(peerName, authority.id);
  const addresses = await findAddresses();
  const timeLimit = new AbortController();
  const timer = setTimeout(
    () => timeLimit.abort(new Deno.errors.TimedOut(`joining took over ${WHOLE_SECONDS} s`)),
    WHOLE_SECONDS * 1000,
  );
  using joined = new JoinedSignal(signal, services.closing, timeLimit.signal);
  try {
    const joiner = new Joiner(services, invitation, authority, addresses, joined.signal!);
    return await joiner.join(peerName);
  } finally {
    clearTimeout(timer);
  }
}

/** The outcome of the first step. */
interface FirstStep {
  readonly answer: Answer;
  /** The address at which the device of the line answered. */
  readonly address: Address;
}

/** One attempt to join. */
class Joiner {
  readonly #services: DeviceServices;
  readonly #invitation: InvitationLine;
  readonly #authority: Authority;
  readonly #addresses: readonly HostAddress[];
  readonly #signal: AbortSignal;
  readonly #failure: JoinFailure;

  constructor(
    services: DeviceServices,
    invitation: InvitationLine,
    authority: Authority,
    addresses: readonly HostAddress[],
    signal: AbortSignal,
  ) {
    this.#services = services;
    this.#invitation = invitation;
    this.#authority = authority;
    this.#addresses = addresses;
    this.#signal = signal;
    this.#failure = new JoinFailure(authority, signal);
  }

  async join(peerName: string | undefined): Promise<Peer> {
    const known = await this.#services.peers.read(this.#authority.id);
    if (known !== null) this.#failure.name = known.name;
    const { answer, address } = await this.#takeFirstStep();
    const { name } = answer;
    this.#failure.name = name;
    using connection = await this.#failure.turnedAway(() => {
      return this.#connect(address, this.#services.identity.clientContext(this.#authority));
    });
    await this.#takeSecondStep(connection, answer.value);
    const peer = await this.#services.peers.record({
      authority: this.#authority,
      receivedName: name,
      peerName,
      addresses: withScope(
        answer.addresses,
        () => scopeOfConnection(address, connection.sock),
      ),
    });
    this.#services.logger.info(`join: paired with ${peer.name} (${peer.id})`);
    return peer;
  }

  /** Connects to the device that made the line, and to no other. */
  #connect(address: Address, sslctx: ClientSslctx, signal?: AbortSignal): Promise<Connection> {
    const { certificate } = this.#authority;
    const connect: Connector["connect"] = async (address, bounds) => {
      for (let tries = 1;; tries++) {
        try {
          const socket = await connectTls(address, sslctx, null, bounds, PAIRING_PROTOCOL);
          if (hasSigned(certificate, socket.peerCertificate!.raw)) return socket;
          socket.close();
          throw new TlsError(
            "UNTRUSTED",
            "the authority of the line has not signed the certificate directly",
          );
        } catch (error) {
          if (!isCut(error) || tries === MAX_TRIES) throw error;
        }
        await pauseBeforeTry(tries, bounds.signal);
      }
    };
    const connector = { defaultPort: 443, moreOptions: [], connect };
    const options = { host: null, timeout: WAIT_SECONDS, signal: this.#signal };
    return new Client(address, options, connector).connect(
      undefined,
      signal === undefined ? {} : { signal },
    );
  }

  /** Finds the device, and sends it the secret and this device's authority. */
  async #takeFirstStep(): Promise<FirstStep> {
    const { addresses, secret } = this.#invitation;
    const nameless = clientSslctxOf(null, this.#authority.certificate);
    const found = await this.#failure.turnedAway(() =>
      raceAddresses(
        withOwnScopes(addresses),
        async (address, signal) => ({
          address,
          connection: await this.#connect(address, nameless, signal),
        }),
        { discard: ({ connection }) => connection.close(), signal: this.#signal },
      )
    );
    using connection = found.connection;
    const introduction = encodeIntroduction({
      secret,
      authority: this.#services.identity.authority.der,
      name: this.#services.name,
      addresses: this.#addresses,
    });
    const { status, bytes } = await this.#failure.turnedAway(() =>
      ask(connection, SECRET_URI, introduction)
    );
    if (status !== 200) throw this.#failure.refused();
    return { answer: this.#readAnswer(bytes), address: found.address };
  }

  #readAnswer(bytes: Uint8Array): Answer {
    try {
      return decodeAnswer(bytes);
    } catch (error) {
      throw this.#failure.badAnswer(error);
    }
  }

  /** From here on the other device may have stored this one as its peer. */
  async #takeSecondStep(connection: Connection, value: Uint8Array): Promise<void> {
    let answered;
    try {
      answered = await ask(connection, VALUE_URI, encodeValue(value));
    } catch (error) {
      throw this.#failure.lostAnswer(error);
    }
    if (answered.status !== 204) throw this.#failure.refused();
  }
}

/** The addresses of the line, then each link-local one with the scope of each interface. */
function withOwnScopes(addresses: readonly HostAddress[]): Address[] {
  const elsewhere = addresses.filter((address) => !needsScope(address));
  const local = addresses.filter(needsScope);
  const scopes = local.length === 0 ? [] : findScopes(elsewhere.length > 0);
  return [
    ...elsewhere,
    ...scopes.flatMap((scope) => local.map(([host, port]): Address => [host, port, 0, scope])),
  ];
}

/** No permission is requested for link-local addresses if there are others to try. */
function findScopes(isOptional: boolean): number[] {
  const permission = { name: "sys", kind: "networkInterfaces" } as const;
  if (isOptional && Deno.permissions.querySync(permission).state !== "granted") return [];
  return linkLocalScopes();
}

/** Creates the errors of one attempt to join. */
export class JoinFailure {
  /** The name of the other device; empty while it is unknown. */
  name: string;
  readonly #id: string;
  readonly #signal: AbortSignal;

  /**
   * Creates the errors for the device with this authority.
   *
   * @param signal Its reason takes precedence over the error that aborting it has caused.
   */
  constructor({ der, id }: Authority, signal: AbortSignal) {
    this.name = nameOf(der);
    this.#id = id;
    this.#signal = signal;
  }

  get #who(): string {
    return this.name === "" ? `the device ${this.#id}` : `${this.name} (${this.#id})`;
  }

  /** Runs a step; if it fails, the line may have been used by another device, and the error says so. */
  async turnedAway<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      this.#signal.throwIfAborted();
      throw this.#explain(error);
    }
  }

  #explain(cause: unknown): unknown {
    const errors: unknown[] = cause instanceof AggregateError ? cause.errors : [cause];
    const denied = errors.find((error) => error instanceof Deno.errors.NotCapable);
    if (denied !== undefined) return denied;
    if (errors.some(isAgainstTheRules)) return this.badAnswer(cause);
    return new DeguError(this.#say(errors), { cause });
  }

  #say(errors: readonly unknown[]): string {
    if (errors.some(isCut)) return this.#overloaded();
    return errors.every(isSilent) ? this.#unreachable() : this.#notOpen();
  }

  /** A port that is crowded by strangers is more likely than one that another program now uses. */
  #overloaded(): string {
    return `${this.#who} closes connections before they are encrypted, each time it was tried: its ` +
      "port is overloaded, or something in between closes them; try again, and if that doesn't help, " +
      this.#notOpen();
  }

  /** An invitation that has ended can look like this, too. */
  #unreachable(): string {
    return `${this.#who} can't be reached at an address of the line: check that the two are on the same ` +
      `network; if they are, ${this.#notOpen()}`;
  }

  #notOpen(): string {
    return "this line is not open any more: it has expired, was closed, or another device has used it; " +
      `check the peers of ${this.#who}, and forget any that you don't recognize`;
  }

  /** The error for a response that rejects what this device sent. */
  refused(): DeguError {
    return new DeguError(
      `${this.#who} has refused what this device sent; its log says why`,
    );
  }

  /** The error for a response that breaks the protocol. */
  badAnswer(cause: unknown): DeguError {
    const what = cause instanceof Error ? `: ${cause.message}` : "";
    return new DeguError(`the answer of ${this.#who} is not valid${what}`, { cause });
  }

  /** The error if the other device may or may not have stored this one. */
  lostAnswer(cause: unknown): unknown {
    if (this.#signal.aborted) return this.#signal.reason;
    return new DeguError(
      `the last answer of ${this.#who} did not arrive: the invitation has ended, or that device has stored ` +
        "this one, which has not stored it; join again with a new invitation",
      { cause },
    );
  }
}

/** True if nobody can have refused this device; a refused connection may be an invitation that has ended. */
function isSilent(error: unknown): boolean {
  // A link-local address that was tried at an interface without such addresses.
  return isUnreachable(error) || systemCode(error) === "EINVAL";
}

/** True if the device of the line has answered, but not by the protocol. */
function isAgainstTheRules(error: unknown): boolean {
  if (error instanceof EmptyPreambleError) return false;
  return error instanceof ProtocolError || error instanceof RangeError;
}

/** The name that the device had when its authority was made; empty if that can't be read. */
function nameOf(der: Uint8Array): string {
  const [, name = ""] = /^O=(.*)$/m.exec(parseCertificate(der).subject) ?? [];
  return isDeviceName(name) ? name : "";
}

/** Waits before the next try, half of it random, so that clients that were cut at the same time spread out. */
async function pauseBeforeTry(tries: number, signal: AbortSignal | undefined): Promise<void> {
  const most = Math.min(FIRST_PAUSE_MILLISECONDS * 2 ** (tries - 1), LONGEST_PAUSE_MILLISECONDS);
  await pause(most * (0.5 + Math.random() / 2), signal);
  signal?.throwIfAborted();
}

/** True if the other side, or somebody in between, has closed the connection during its handshake. */
function isCut(error: unknown): boolean {
  return error instanceof TlsError && error.code === "CLOSED";
}

/**
 * Sends a request and reads the whole response.
 *
 * @throws {RangeError} if the response is too long.
 */
async function ask(
  connection: Connection,
  uri: string,
  message: Uint8Array,
): Promise<{ readonly status: number; readonly bytes: Uint8Array }> {
  const { status, headers, body } = await connection.post(uri, {}, message);
  if (body === null) return { status, bytes: new Uint8Array(0) };
  const length = headers["content-length"];
  if (typeof length === "number" && length <= MAX_MESSAGE_BYTES) {
    return { status, bytes: await body.bytes() };
  }
  throw new RangeError(`its answer must have a length of at most ${MAX_MESSAGE_BYTES} bytes`);
}
