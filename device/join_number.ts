/** The joiner of a pairing by a number, which two people compare. */

import {
  type Address,
  checkAddress,
  DeguError,
  type HostAddress,
  parseHost,
  type ScopedAddress,
} from "../base.ts";
import type { ClientSslctx, Connection } from "../client.ts";
import { copyWithPort, formatCheckedAddress, isUnixAddress } from "../base/address.ts";
import { checkFunction, checkSignal, copyOptions, notAllowedError } from "../internal/checks.ts";
import { readAuthorityDer } from "./identity/authority.ts";
import { checkAddresses } from "../net/addresses.ts";
import { joinSignals, untilAborted } from "../net/connect.ts";
import { plainMessageOf } from "../net/error_text.ts";
import { type DeviceServices, storePairing } from "./device_services.ts";
import { PairingError } from "./errors.ts";
import { answerLostError, JOIN_OPTIONS, type JoinOptions, ownDeviceError } from "./join.ts";
import { addressesToStore, makeAddressFinder } from "./pairing_addresses.ts";
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
  codeOfAttempts,
  connectToInviter,
  PLAIN_MILLISECONDS,
  readBody,
  requestPlain,
  sendMessage,
} from "./inviter_client.ts";

/** The comparison of the number, beside the name, the addresses and the signal of each joining. */
export interface JoinByNumberOptions extends JoinOptions {
  /** Asks whether the other device shows the same number. */
  confirm: ConfirmNumber;
}

const REFUSAL_ERRORS = {
  busy: {
    code: "BUSY",
    reason: "busy",
    problem: "is asking about another device",
    advice: ": if you did not start that, answer no there, and try again",
  },
  // If another device has used the line, the line is also closed, so don't recommend the line.
  closed: {
    code: "NOT_OPEN",
    reason: "no numbers left",
    problem: "takes no more numbers: see what it says there",
    advice: ", and invite again",
  },
} as const;

/** The problem and the advice of each reason of a number that was not confirmed. */
const UNCONFIRMED_ERRORS = {
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
  givenAddresses: readonly Address[],
  options: JoinByNumberOptions,
): Promise<Peer> {
  const copy = copyOptions(options, [...JOIN_OPTIONS, "confirm"]);
  const { confirm, peerName, serving, signal: callerSignal } = copy;
  checkFunction("confirm", confirm);
  checkSignal(callerSignal);
  const addresses = checkAddresses("addresses", givenAddresses, (address) => {
    const checkedAddress = checkAddress(address, "client");
    if (!isUnixAddress(checkedAddress)) return checkedAddress;
    throw notAllowedError("address", "must be a host with a port; got a Unix socket");
  });
  if (addresses.length === 0) throw notAllowedError("addresses", "must not be empty");
  const { name, identity, peers, logger, closing } = services;
  const findAddresses = makeAddressFinder(services, serving);
  if (peerName !== undefined) await peers.checkFree(peerName);
  const introduction = {
    authority: identity.authority.raw,
    name,
    addresses: await findAddresses(),
  };
  const signal = joinSignals(callerSignal, closing)!;

  const exchange = await commit(addresses, introduction, signal);
  // The number is valid only while this connection is open.
  using _plain = exchange.connection;
  const { address, offer, authority } = exchange;
  if (authority.id === identity.authority.id) throw ownDeviceError("addresses");
  using attempt = new JoinerAttempt(exchange, signal);
  await attempt.reveal();
  await attempt.ask(confirm);
  // The inviter waits until this connection is closed, so close it after storing the inviter.
  using secure = await attempt.connectOverTls(identity.clientContext(authority));
  await attempt.confirm(secure);
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
 * Sends a commitment, with a new random value, to one address after the other until one answers.
 * The first response decides: it may be that of a stranger, who must not get a second try.
 */
async function commit(
  addresses: readonly (HostAddress | ScopedAddress)[],
  introduction: Omit<Message<typeof COMMITMENT>, "commitment">,
  signal: AbortSignal,
) {
  const errors: unknown[] = [];
  for (const address of addresses) {
    const random = makeRandom(HASH_BYTES);
    const commitment = commitmentTo(introduction.authority, random);
    const request = encodeMessage({ ...introduction, commitment });
    let status = 0;
    try {
      return await requestPlain(address, signal, async (connection) => {
        const reply = await connection.post(COMMITMENT_URI, {}, request);
        status = reply.status;
        const response = await readBody(reply);
        if (status === 409) {
          const { reason } = decodeMessage(response, REFUSAL);
          if (reason === "self") throw ownDeviceError("addresses");
          const { code, advice, ...refusal } = REFUSAL_ERRORS[reason];
          const problem = `the device at ${formatCheckedAddress(address)} ${refusal.problem}`;
          throw new PairingError(code, problem + advice, { reason: refusal.reason, problem });
        }
        if (status !== 200) throw new DeguError(`the status of its answer is ${status}`);
        const offer = decodeMessage(response, OFFER);
        const authority = readAuthorityDer(offer.authority);
        return { address, connection, offer, authority, random, request, response };
      });
    } catch (cause) {
      signal.throwIfAborted();
      if (cause instanceof PairingError) throw cause;
      const problem = `the answer of ${formatCheckedAddress(address)} is not valid: ${
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

/** A commitment and its response, of which the number is made, and their connection. */
type CommitmentExchange = Awaited<ReturnType<typeof commit>>;

/** A pairing by a number at the joiner. That at the inviter is a `NumberAttempt`. */
class JoinerAttempt implements Disposable {
  readonly #exchange: CommitmentExchange;
  /** Once it is true, only the response shows whether the inviter has stored this device. */
  #hasConfirmed = false;
  readonly #abortController = new AbortController();
  /** Aborted when the number ends, or the caller cancels: either interrupts any step. */
  readonly #signal: AbortSignal;
  readonly #confirmTimer: ReturnType<typeof setTimeout>;

  constructor(exchange: CommitmentExchange, callerSignal: AbortSignal) {
    this.#exchange = exchange;
    this.#signal = AbortSignal.any([callerSignal, this.#abortController.signal]);
    this.#confirmTimer = setTimeout(() => {
      const error = this.#hasConfirmed
        ? answerLostError(UNCONFIRMED_ERRORS["timed out"][0])
        : this.#notConfirmedError("timed out");
      this.#abortController.abort(error);
    }, CONFIRM_SECONDS * 1000);
  }

  /** Reveals the random value. The response doesn't wait for a person, so its limit is short. */
  async reveal(): Promise<void> {
    const { connection, offer, random } = this.#exchange;
    const seconds = PLAIN_MILLISECONDS / 1000;
    const problem = `${offer.name} has not answered in ${seconds} s: check the network`;
    const error = new PairingError("UNREACHABLE", problem);
    const limitTimer = setTimeout(() => this.#abortController.abort(error), PLAIN_MILLISECONDS);
    const message = encodeMessage({ random });
    const send = () => sendMessage(connection, RANDOM_URI, message);
    const responsePromise = this.#step(
      send,
      (cause) => this.#notConfirmedError("remote", { cause }),
    );
    this.#check(await responsePromise.finally(() => clearTimeout(limitTimer)));
    // The inviter sends no more bytes, and keeps this connection open while the number is valid, so
    // the end of a read means a no.
    const onEnd = () => {
      if (!this.#hasConfirmed) this.#abortController.abort(this.#notConfirmedError("remote"));
    };
    connection.sock.read(new Uint8Array(1)).then(onEnd, onEnd);
  }

  /** Asks the person at this device. */
  async ask(confirm: ConfirmNumber): Promise<void> {
    const { offer: { name }, authority: { id }, request, response, random } = this.#exchange;
    const number = numberOf(request, response, random);
    const question = Object.freeze({ number, name, id, signal: this.#signal });
    const toError = (cause: unknown) => this.#notConfirmedError("local", { cause });
    const isConfirmed = await this.#step(() => confirm(question), toError);
    if (isConfirmed !== true) throw this.#notConfirmedError("local");
  }

  /** Connects over TLS, with the certificate of this device. */
  async connectOverTls(sslctx: ClientSslctx): Promise<Connection> {
    const { offer, authority } = this.#exchange;
    const address = addressOfTls(this.#exchange);
    const connect = () => connectToInviter(authority, sslctx, [address], this.#signal, null);
    const { connection } = await this.#step(connect, (cause) => {
      const problem = `${offer.name} can't be reached at ${formatCheckedAddress(address)}`;
      const message = `${problem}: check what is in between`;
      return new PairingError(codeOfAttempts(cause), message, { cause });
    });
    return connection;
  }

  /** Sends the confirmation. The inviter responds once its own person has answered. */
  async confirm(secure: Connection): Promise<void> {
    this.#hasConfirmed = true;
    const problem = `the last answer of ${this.#exchange.offer.name} did not arrive`;
    const message = encodeMessage({});
    const send = () => sendMessage(secure, CONFIRMED_URI, message);
    this.#check(await this.#step(send, (cause) => answerLostError(problem, { cause })));
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#confirmTimer);
  }

  #notConfirmedError(
    reason: keyof typeof UNCONFIRMED_ERRORS,
    options?: ErrorOptions,
  ): PairingError {
    const { name: peerName } = this.#exchange.offer;
    const [predicate, advice] = UNCONFIRMED_ERRORS[reason];
    const problem = reason === "remote" ? `${peerName} ${predicate}` : predicate;
    const details = { ...options, reason, peerName, problem };
    return new PairingError("NOT_CONFIRMED", problem + advice, details);
  }

  async #step<T>(
    run: () => T | Promise<T>,
    toError: (cause: unknown) => PairingError,
  ): Promise<T> {
    try {
      this.#signal.throwIfAborted();
      return await untilAborted(run(), this.#signal);
    } catch (cause) {
      this.#signal.throwIfAborted();
      throw toError(cause);
    }
  }

  #check({ status, bytes }: Awaited<ReturnType<typeof sendMessage>>): void {
    if (status === 200 && isEmptyMessage(bytes)) return;
    throw this.#notConfirmedError("remote");
  }
}

/** The port for TLS on the host that has answered. */
function addressOfTls({ address, connection, offer: { port } }: CommitmentExchange): Address {
  const [host] = address;
  const isIPAddress = (parseHost(host)?.bytes ?? null) !== null;
  const { hostname } = connection.sock.remoteAddr as Deno.NetAddr;
  return copyWithPort(address, port, isIPAddress ? host : hostname);
}
