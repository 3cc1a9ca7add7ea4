/** The end of a pairing that joins by a number, which two people compare. */

import {
  type Address,
  addressText,
  canonicalIPAddress,
  type HostAddress,
  isUnixAddress,
  type ScopedAddress,
  withoutZone,
} from "../base/address.ts";
import { checkFunction, copyOptions } from "../base/checks.ts";
import { DeguError } from "../base/errors.ts";
import { readAuthority } from "../identity/authority.ts";
import { checkClientAddress } from "../net/addresses.ts";
import type { Connection } from "../net/client_connection.ts";
import { joinSignals, untilAborted } from "../net/connect.ts";
import { checkSignal } from "../net/request_signal.ts";
import { plainMessageOf } from "../net/thrown.ts";
import type { DeviceServices } from "./device_services.ts";
import { ask, askPlain, connect, JOIN_OPTIONS, type JoinOptions, readBody, SELF } from "./join.ts";
import { addressFinder, checkAddresses, withScope } from "./pairing_addresses.ts";
import {
  COMMITMENT,
  COMMITMENT_URI,
  commitmentTo,
  CONFIRMED_URI,
  decodeMessage,
  encodeMessage,
  HASH_BYTES,
  isEmptyMessage,
  makeRandom,
  type Message,
  numberOf,
  OFFER,
  RANDOM_URI,
  REFUSAL,
} from "./pairing_messages.ts";
import type { Peer } from "./peer_store.ts";
import { type Asked, type Confirm, CONFIRM_SECONDS } from "./plain_port.ts";

/** Options of joining by a number. */
export interface JoinByNumberOptions extends JoinOptions {
  /** Asks whether the other device shows the same number. */
  confirm: Confirm;
}

/** A commitment that was answered. */
interface Answered {
  readonly address: Address;
  /** The number is good as long as this is open. */
  readonly connection: Connection;
  readonly random: Uint8Array;
  /** Both bodies, as they were sent. */
  readonly request: Uint8Array;
  readonly response: Uint8Array;
}

const REFUSED = {
  busy: "is asking about another device: if you did not start that, answer no there, and try again",
  closed: "takes no more numbers: use the line of its invitation, or invite again",
};

/** Pairs with the device that invites at one of these addresses: what `Device.join()` does with them. */
export async function joinByNumber(
  services: DeviceServices,
  given: readonly Address[],
  options: JoinByNumberOptions,
): Promise<Peer> {
  const copy = copyOptions(options, [...JOIN_OPTIONS, "confirm"]);
  const { confirm, peerName, serving, signal: cancel } = copy;
  checkFunction("confirm", confirm);
  checkSignal(cancel);
  const addresses = checkAddresses("addresses", given, (address) => {
    const checked = checkClientAddress(address);
    if (!isUnixAddress(checked)) return checked;
    throw new RangeError("address: must be a host with a port; got a Unix socket");
  });
  if (addresses.length === 0) throw new RangeError("addresses: must not be empty");
  const { name, identity, peers, logger, closing } = services;
  const findAddresses = addressFinder(services, serving);
  if (peerName !== undefined) await peers.checkFree(peerName);
  const own = { authority: identity.authority.der, name, addresses: await findAddresses() };
  const signal = joinSignals(cancel, closing)!;

  const answered = await commit(addresses, own, signal);
  using connection = answered.connection;
  const offer = attempt(answered.address, () => decodeMessage(answered.response, OFFER, OFFER));
  const authority = attempt(answered.address, () => readAuthority(offer.authority));
  if (authority.id === identity.authority.id) throw new RangeError(`addresses: ${SELF}`);

  const over = new AbortController();
  const asking = AbortSignal.any([signal, over.signal]);
  const end = (why: string) => over.abort(new DeguError(why));
  const late = `no answer within ${CONFIRM_SECONDS} s`;
  const timer = setTimeout(() => end(late), CONFIRM_SECONDS * 1000);
  const refused = `${offer.name} did not confirm`;
  let isOver = false;
  try {
    await reveal(answered, asking);
    // The other side keeps it open as long as the number is good, and sends nothing more.
    const onEnd = () => isOver || end(refused);
    connection.sock.read(new Uint8Array(1)).then(onEnd, onEnd);
    const number = numberOf(answered.request, answered.response, answered.random);
    const asked = { number, name: offer.name, id: authority.id, signal: asking };
    await confirmHere(confirm, Object.freeze(asked));

    const address = addressOfTls(answered, offer.port);
    const sslctx = identity.clientContext(authority);
    const found = await connect(authority, sslctx, [address], asking, null).catch((cause) => {
      asking.throwIfAborted();
      throw new DeguError(`${offer.name} can't be reached at ${addressText(address)}`, { cause });
    });
    // It stays open until this device has stored the other one, which waits for that.
    using secure = found.connection;
    const stored = await ask(secure, CONFIRMED_URI, encodeMessage({})).catch((cause) => {
      asking.throwIfAborted();
      throw new DeguError(refused, { cause });
    });
    if (stored.status !== 200 || !isEmptyMessage(stored.bytes)) throw new DeguError(refused);
    const peer = await peers.record({
      authority,
      receivedName: offer.name,
      peerName,
      addresses: withScope(offer.addresses, address, secure.sock),
    });
    logger.info(`join: paired with ${peer.name} (${peer.id})`);
    return peer;
  } finally {
    isOver = true;
    clearTimeout(timer);
  }
}

/**
 * Sends a commitment, with a new random value, to one address after the other until one answers it: that one may be a
 * stranger, who must not get another try.
 */
async function commit(
  addresses: readonly Address[],
  own: Omit<Message<typeof COMMITMENT>, "commitment">,
  signal: AbortSignal,
): Promise<Answered> {
  const errors: unknown[] = [];
  for (const address of addresses) {
    const random = makeRandom(HASH_BYTES);
    const request = encodeMessage({ ...own, commitment: commitmentTo(own.authority, random) });
    let status = 0;
    try {
      const answer = await askPlain(address, signal, async (connection) => {
        const response = await connection.post(COMMITMENT_URI, {}, request);
        status = response.status;
        return { connection, response: await readBody(response) };
      });
      if (status === 200) return { address, ...answer, random, request };
      answer.connection.close();
      if (status === 409) throw refusal(address, answer.response);
      throw new DeguError(`${addressText(address)} has answered with the status ${status}`);
    } catch (error) {
      signal.throwIfAborted();
      if (status === 409) throw error;
      if (status === 200) throw notValid(address, error);
      if (error instanceof Deno.errors.NotCapable) throw error;
      errors.push(error);
    }
  }
  throw new DeguError(
    "no device invites at these addresses: check that the two are on the same network, and that the " +
      "invitation is still open",
    { cause: new AggregateError(errors) },
  );
}

/** Says why a commitment was refused. */
function refusal(address: Address, bytes: Uint8Array): Error {
  const { reason } = attempt(address, () => decodeMessage(bytes, REFUSAL, REFUSAL));
  return reason === "self"
    ? new RangeError(`addresses: ${SELF}`)
    : new DeguError(`the device at ${addressText(address)} ${REFUSED[reason]}`);
}

function notValid(address: Address, cause: unknown): DeguError {
  const message = `the answer of ${addressText(address)} is not valid: ${plainMessageOf(cause)}`;
  return new DeguError(message, { cause });
}

function attempt<T>(address: Address, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw notValid(address, error);
  }
}

/** Reveals the random value: from then on both sides know the number. */
async function reveal(
  { address, connection, random }: Answered,
  signal: AbortSignal,
): Promise<void> {
  const message = encodeMessage({ random });
  const asking = ask(connection, RANDOM_URI, message);
  const { status, bytes } = await untilAborted(asking, signal).catch((error) => {
    signal.throwIfAborted();
    throw notValid(address, error);
  });
  if (status === 200 && isEmptyMessage(bytes)) return;
  throw notValid(address, new RangeError(`its status is ${status}`));
}

/** Asks the person here. */
async function confirmHere(confirm: Confirm, asked: Asked): Promise<void> {
  const { signal } = asked;
  let isConfirmed;
  try {
    isConfirmed = await untilAborted(confirm(asked), signal);
  } catch (cause) {
    signal.throwIfAborted();
    throw new DeguError("not confirmed here", { cause });
  }
  if (isConfirmed !== true) throw new DeguError("not confirmed here");
}

/** The port of TLS on the very host that has answered. */
function addressOfTls({ address, connection }: Answered, port: number): Address {
  const [host, , ...scope] = address as HostAddress | ScopedAddress;
  const isName = canonicalIPAddress(withoutZone(host)) === null;
  const { hostname } = connection.sock.remoteAddr as Deno.NetAddr;
  return [isName ? hostname : host, port, ...scope] as unknown as Address;
}
