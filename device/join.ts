/**
 * Joining a device that has invited this one.
 *
 * @module
 */

import { copyOptions } from "../base/checks.ts";
import type { Address, HostAddress } from "../base/address_rules.ts";
import type { Client, Connection } from "../client.ts";
import { JoinedSignal } from "../net/connect.ts";
import { checkSignal } from "../net/request_signal.ts";
import { raceAddresses } from "./address_race.ts";
import { type Authority, readAuthority } from "./authority.ts";
import { addressFinder } from "./invitation.ts";
import { decodeLine, type InvitationLine, needsScope } from "./invitation_line.ts";
import { JoinFailure } from "./join_failure.ts";
import { linkLocalScopes } from "./own_addresses.ts";
import { ask, makePairingClient } from "./pairing_client.ts";
import {
  type Answer,
  decodeAnswer,
  encodeIntroduction,
  encodeValue,
  SECRET_URI,
  VALUE_URI,
} from "./pairing_messages.ts";
import type { DeviceParts } from "./parts.ts";
import type { Peer } from "./peer.ts";
import { scopeOfConnection, withScope } from "./received_addresses.ts";

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

/** Pairs with the device that a line is from: what `Device.join()` does. */
export async function joinDevice(
  parts: DeviceParts,
  line: string,
  options: JoinOptions = {},
): Promise<Peer> {
  const { peerName, serving, signal } = copyOptions(options, OPTIONS);
  checkSignal(signal);
  const findAddresses = addressFinder(parts, serving);
  const invitation = decodeLine(line);
  const authority = await readAuthority(invitation.authority);
  if (authority.id === parts.id) {
    throw new RangeError(
      "line: it is from this device itself, or from a copy of its directory: a device can't be paired " +
        "with itself, and each device needs a directory of its own",
    );
  }
  if (peerName !== undefined) await parts.peers.checkFree(peerName, authority.id);
  const addresses = await findAddresses();
  const timeLimit = new AbortController();
  const timer = setTimeout(
    () => timeLimit.abort(new Deno.errors.TimedOut(`joining took over ${WHOLE_SECONDS} s`)),
    WHOLE_SECONDS * 1000,
  );
  using joined = new JoinedSignal(signal, parts.closing, timeLimit.signal);
  try {
    const joiner = new Joiner(parts, invitation, authority, addresses, joined.signal!);
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
  readonly #parts: DeviceParts;
  readonly #invitation: InvitationLine;
  readonly #authority: Authority;
  readonly #addresses: readonly HostAddress[];
  readonly #signal: AbortSignal;
  readonly #failure: JoinFailure;

  constructor(
    parts: DeviceParts,
    invitation: InvitationLine,
    authority: Authority,
    addresses: readonly HostAddress[],
    signal: AbortSignal,
  ) {
    this.#parts = parts;
    this.#invitation = invitation;
    this.#authority = authority;
    this.#addresses = addresses;
    this.#signal = signal;
    this.#failure = new JoinFailure(authority, signal);
  }

  async join(peerName: string | undefined): Promise<Peer> {
    const known = await this.#parts.peers.read(this.#authority.id);
    if (known !== null) this.#failure.name = known.name;
    const { answer, address } = await this.#takeFirstStep();
    const { name } = answer;
    this.#failure.name = name;
    using connection = await this.#failure.turnedAway(() => {
      return this.#client(address, this.#parts.sslconfig()).connect();
    });
    await this.#takeSecondStep(connection, answer.value);
    const peer = await this.#parts.peers.record({
      authority: this.#authority,
      receivedName: name,
      peerName,
      addresses: withScope(
        answer.addresses,
        () => scopeOfConnection(address, connection.sock),
      ),
    });
    this.#parts.logger.info(`join: paired with ${peer.name} (${peer.id})`);
    return peer;
  }

  #client(address: Address, identity: { cert: string; key: string } | null): Client {
    return makePairingClient(address, this.#authority.certificate, identity, this.#signal);
  }

  /** Finds the device, and sends it the secret and this device's authority. */
  async #takeFirstStep(): Promise<FirstStep> {
    const { addresses, secret } = this.#invitation;
    const found = await this.#failure.turnedAway(() =>
      raceAddresses(
        withOwnScopes(addresses),
        async (address, signal) => ({
          address,
          connection: await this.#client(address, null).connect(undefined, { signal }),
        }),
        { discard: ({ connection }) => connection.close(), signal: this.#signal },
      )
    );
    using connection = found.connection;
    const introduction = encodeIntroduction({
      secret,
      authority: this.#parts.authority.der,
      name: this.#parts.name,
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
