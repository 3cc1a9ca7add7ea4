/** The end of a pairing that joins by a number, which two people compare. */

import {
  type Address,
  checkAddress,
  DeguError,
  type HostAddress,
  parseHost,
  type ScopedAddress,
} from "../base.ts";
import type { ClientSslctx, Connection } from "../client.ts";
import { addressText, isUnixAddress, withPort } from "../base/address.ts";
import { checkFunction, checkSignal, copyOptions, notAllowedError } from "../internal/checks.ts";
import { readAuthorityDer } from "./identity/authority.ts";
import { checkAddresses } from "../net/addresses.ts";
import { joinSignals, untilAborted } from "../net/connect.ts";
import { plainMessageOf } from "../net/error_text.ts";
import { type DeviceServices, storePairing } from "./device_services.ts";
import { PairingError } from "./errors.ts";
import { answerLostError, JOIN_OPTIONS, type JoinOptions, ownDeviceError } from "./join.ts";
import { addressesToStore, addressFinder } from "./pairing_addresses.ts";
import {
  type COMMITMENT,
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
import { CONFIRM_SECONDS, type ConfirmNumber } from "./plain_port.ts";
import {
  askPlain,
  codeOfAttempts,
  connectToInviter,
  PLAIN_MILLISECONDS,
  readBody,
  sendMessage,
} from "./reach_inviter.ts";

/** The person who compares the number, and the names that the two devices exchange. */
export interface JoinByNumberOptions extends JoinOptions {
  /** Asks whether the other device shows the same number. */
  confirm: ConfirmNumber;
}

const WHY_REFUSED = {
  busy: {
    code: "BUSY",
    reason: "busy",
    why: "is asking about another device",
    advice: ": if you did not start that, answer no there, and try again",
  },
  // Five numbers were not confirmed, or another device has used the line: then the line is dead,
  // too, and is not recommended.
  closed: {
    code: "NOT_OPEN",
    reason: "no numbers left",
    why: "takes no more numbers: see what it says there",
    advice: ", and invite again",
  },
} as const;

/** Why a number was not confirmed, and what to do, for programs. */
const UNCONFIRMED = {
  "local": [
    "not confirmed here; if the two numbers differ, somebody may stand between the devices",
    ": use the line of the invitation",
  ],
  "remote": ["did not confirm: the answer there was no, or the connection ended", "; try again"],
  "timed out": [`no answer within ${CONFIRM_SECONDS} s`, "; try again, and answer at both devices"],
} as const;

/**
 * Pairs with the device that invites at one of these addresses, for `Device.join()`.
 */
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
    const checked = checkAddress(address, "client");
    if (!isUnixAddress(checked)) return checked;
    throw notAllowedError("address", "must be a host with a port; got a Unix socket");
  });
  if (addresses.length === 0) throw notAllowedError("addresses", "must not be empty");
  const { name, identity, peers, logger, closing } = services;
  const findAddresses = addressFinder(services, serving);
  if (peerName !== undefined) await peers.checkFree(peerName);
  const own = { authority: identity.authority.raw, name, addresses: await findAddresses() };
  const signal = joinSignals(cancel, closing)!;

  const answered = await commit(addresses, own, signal);
  // The number is valid only while this connection is open.
  using _plain = answered.connection;
  const { address, offer, authority } = answered;
  if (authority.id === identity.authority.id) throw ownDeviceError("addresses");
  using opened = new JoinersTry(answered, signal);
  await opened.reveal();
  await opened.ask(confirm);
  // The connection stays open until this device has stored the other one, which waits for that.
  using secure = await opened.comeBack(identity.clientContext(authority));
  await opened.confirm(secure);
  const peer = await storePairing(services, {
    authority,
    receivedName: offer.name,
    peerName,
    addresses: addressesToStore(offer.addresses, address, secure.sock),
  });
  logger.info(`join: paired with ${peer.name} (${peer.id})`);
  return peer;
}

/**
 * Sends a commitment, with a new random value, to one address after the other until one answers: a
 * stranger may have answered, who must not get another try.
 */
async function commit(
  addresses: readonly (HostAddress | ScopedAddress)[],
  own: Omit<Message<typeof COMMITMENT>, "commitment">,
  signal: AbortSignal,
) {
  const errors: unknown[] = [];
  for (const address of addresses) {
    const random = makeRandom(HASH_BYTES);
    const request = encodeMessage({ ...own, commitment: commitmentTo(own.authority, random) });
    let status = 0;
    try {
      return await askPlain(address, signal, async (connection) => {
        const answer = await connection.post(COMMITMENT_URI, {}, request);
        status = answer.status;
        const response = await readBody(answer);
        if (status === 409) {
          const { reason } = decodeMessage(response, REFUSAL);
          if (reason === "self") throw ownDeviceError("addresses");
          const { code, why, advice, ...options } = WHY_REFUSED[reason];
          const problem = `the device at ${addressText(address)} ${why}`;
          throw new PairingError(code, problem + advice, { ...options, problem });
        }
        if (status !== 200) throw new DeguError(`the status of its answer is ${status}`);
        const offer = decodeMessage(response, OFFER);
        const authority = readAuthorityDer(offer.authority);
        return { address, connection, offer, authority, random, request, response };
      });
    } catch (cause) {
      signal.throwIfAborted();
      if (cause instanceof PairingError) throw cause;
      const problem = `the answer of ${addressText(address)} is not valid: ${
        plainMessageOf(cause)
      }`;
      if (status === 200 || status === 409) {
        throw new PairingError("BAD_ANSWER", problem, { cause });
      }
      errors.push(cause);
    }
  }
  const cause = new AggregateError(errors);
  const problem = "no device invites at these addresses";
  const advice =
    ": check that the two are on the same network, and that the invitation is still open";
  const options = { reason: "no invitation", problem, cause } as const;
  throw new PairingError(codeOfAttempts(cause), problem + advice, options);
}

/** The answer to a commitment, and all that the number is made of. */
type Answered = Awaited<ReturnType<typeof commit>>;

/** A number at the device that joins; at the device that invites it is a `Try`. */
class JoinersTry implements Disposable {
  readonly #answered: Answered;
  /** From then on only the answer tells whether the other device has stored this one. */
  #hasConfirmed = false;
  readonly #over = new AbortController();
  /** Aborted when the number is over, or joining is cancelled: either interrupts any step. */
  readonly #signal: AbortSignal;
  readonly #timer: ReturnType<typeof setTimeout>;

  constructor(answered: Answered, cancelled: AbortSignal) {
    this.#answered = answered;
    this.#signal = AbortSignal.any([cancelled, this.#over.signal]);
    this.#timer = setTimeout(() => {
      const error = this.#hasConfirmed
        ? answerLostError(UNCONFIRMED["timed out"][0])
        : this.#notConfirmedError("timed out");
      this.#over.abort(error);
    }, CONFIRM_SECONDS * 1000);
  }

  /** Reveals the random value. No person has to answer this request, so its limit is short. */
  async reveal(): Promise<void> {
    const { connection, offer, random } = this.#answered;
    const seconds = PLAIN_MILLISECONDS / 1000;
    const slow = `${offer.name} has not answered in ${seconds} s: check the network`;
    const error = new PairingError("UNREACHABLE", slow);
    const limit = setTimeout(() => this.#over.abort(error), PLAIN_MILLISECONDS);
    const message = encodeMessage({ random });
    const send = () => sendMessage(connection, RANDOM_URI, message);
    const sending = this.#step(send, (cause) => this.#notConfirmedError("remote", { cause }));
    this.#check(await sending.finally(() => clearTimeout(limit)));
    // The other device sends nothing more, and keeps this connection open while the number is
    // valid: a read that ends means a no.
    const onEnd = () => {
      if (!this.#hasConfirmed) this.#over.abort(this.#notConfirmedError("remote"));
    };
    connection.sock.read(new Uint8Array(1)).then(onEnd, onEnd);
  }

  /** Asks the person here. */
  async ask(confirm: ConfirmNumber): Promise<void> {
    const { offer: { name }, authority: { id }, request, response, random } = this.#answered;
    const number = numberOf(request, response, random);
    const question = Object.freeze({ number, name, id, signal: this.#signal });
    const failed = (cause: unknown) => this.#notConfirmedError("local", { cause });
    const isConfirmed = await this.#step(() => confirm(question), failed);
    if (isConfirmed !== true) throw this.#notConfirmedError("local");
  }

  /** Connects over TLS, with the certificate of this device. */
  async comeBack(sslctx: ClientSslctx): Promise<Connection> {
    const { offer, authority } = this.#answered;
    const address = addressOfTls(this.#answered);
    const connect = () => connectToInviter(authority, sslctx, [address], this.#signal, null);
    const found = await this.#step(connect, (cause) => {
      const where = `${offer.name} can't be reached at ${addressText(address)}`;
      return new PairingError(codeOfAttempts(cause), `${where}: check what is in between`, {
        cause,
      });
    });
    return found.connection;
  }

  /** Tells the other device that its number was confirmed; it answers when its own person has. */
  async confirm(secure: Connection): Promise<void> {
    this.#hasConfirmed = true;
    const problem = `the last answer of ${this.#answered.offer.name} did not arrive`;
    const message = encodeMessage({});
    const send = () => sendMessage(secure, CONFIRMED_URI, message);
    this.#check(await this.#step(send, (cause) => answerLostError(problem, { cause })));
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #notConfirmedError(reason: keyof typeof UNCONFIRMED, options?: ErrorOptions): PairingError {
    const { name: peerName } = this.#answered.offer;
    const [why, advice] = UNCONFIRMED[reason];
    const problem = reason === "remote" ? `${peerName} ${why}` : why;
    const all = { ...options, reason, peerName, problem };
    return new PairingError("NOT_CONFIRMED", problem + advice, all);
  }

  async #step<T>(
    doing: () => T | Promise<T>,
    failed: (cause: unknown) => PairingError,
  ): Promise<T> {
    try {
      this.#signal.throwIfAborted();
      return await untilAborted(doing(), this.#signal);
    } catch (cause) {
      this.#signal.throwIfAborted();
      throw failed(cause);
    }
  }

  #check({ status, bytes }: Awaited<ReturnType<typeof sendMessage>>): void {
    if (status === 200 && isEmptyMessage(bytes)) return;
    throw this.#notConfirmedError("remote");
  }
}

/** The port of TLS on the very host that has answered. */
function addressOfTls(
  { address, connection, offer: { port } }: Answered,
): Address {
  const [host] = address;
  const isIPAddress = (parseHost(host)?.bytes ?? null) !== null;
  const { hostname } = connection.sock.remoteAddr as Deno.NetAddr;
  return withPort(address, port, isIPAddress ? host : hostname);
}
