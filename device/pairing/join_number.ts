import {
  type Address,
  checkAddress,
  DeguError,
  type HostAddress,
  parseHost,
  type ScopedAddress,
} from "../../base.ts";
import type { ClientSslctx, Connection } from "../../client.ts";
import { awaitUntilAborted, joinSignals } from "../../internal/pause.ts";
import { checkFunction, checkSignal, copyOptions, notAllowedError } from "../../internal/checks.ts";
import { formatCheckedAddress, isUnixAddress } from "../../base/address.ts";
import { plainMessageOf } from "../../internal/caught_errors.ts";
import { readAuthorityDer } from "../identity/authority.ts";
import { checkAddresses, copyWithPort } from "../peers/addresses.ts";
import { type DeviceServices, storePairing } from "../peers/device_services.ts";
import { PairingError } from "../errors.ts";
import { answerLostError, JOIN_OPTIONS, type JoinOptions, ownDeviceError } from "./join.ts";
import { makeAddressFinder, selectAddressesToStore } from "./pairing_addresses.ts";
import {
  type COMMITMENT_FIELDS,
  COMMITMENT_URI,
  computeCommitment,
  computeNumber,
  CONFIRMED_URI,
  decodeMessage,
  encodeMessage,
  HASH_BYTES,
  isEmptyMessage,
  makeRandomValue,
  type Message,
  OFFER_FIELDS,
  RANDOM_URI,
  REFUSAL_FIELDS,
} from "./pairing_messages.ts";
import type { Peer } from "../peers/peer_file.ts";
import { CONFIRM_SECONDS, type ConfirmNumber } from "./plain_ports.ts";
import {
  connectToInviter,
  findAttemptsCode,
  PLAIN_REQUEST_MILLISECONDS,
  readBody,
  requestPlain,
  sendMessage,
} from "./inviter_client.ts";

const REFUSAL_ERRORS = {
  busy: {
    code: "BUSY",
    reason: "busy",
    problem: "is asking about another device",
  },
  closed: {
    code: "NOT_OPEN",
    reason: "no numbers left",
    problem: "takes no more numbers",
  },
} as const;

const UNCONFIRMED_PROBLEMS = {
  "local": "not confirmed on this device",
  "remote": "did not confirm: the person there answered no, or the connection ended",
  "timed out": `no answer within ${CONFIRM_SECONDS} s`,
} as const;

export async function joinByNumber(
  services: DeviceServices,
  givenAddresses: readonly Address[],
  options: JoinOptions & { confirm: ConfirmNumber },
): Promise<Peer> {
  const copy = copyOptions(options, [...JOIN_OPTIONS, "confirm"]);
  const { confirm, peerName, serving, signal: callerSignal } = copy;
  checkFunction("confirm", confirm);
  checkSignal("signal", callerSignal);
  const addresses = checkAddresses("addresses", givenAddresses, (address) => {
    const checkedAddress = checkAddress(address, "client");
    if (!isUnixAddress(checkedAddress)) return checkedAddress;
    throw notAllowedError("address", "must be a host with a port; got a Unix socket");
  });
  if (addresses.length === 0) throw notAllowedError("addresses", "must not be empty");
  const { name, identity, peers, logger, closeSignal } = services;
  const addressFinder = makeAddressFinder(services, serving);
  if (peerName !== undefined) await peers.checkFree(peerName);
  const introduction = {
    authority: identity.authority.raw,
    name,
    addresses: await addressFinder.findAddresses(),
  };
  const signal = joinSignals(callerSignal, closeSignal)!;

  const commitmentExchange = await exchangeCommitment(addresses, introduction, signal);
  // The number is valid only while this connection is open.
  using _plain = commitmentExchange.connection;
  const { address, offer, authority } = commitmentExchange;
  if (authority.id === identity.authority.id) throw ownDeviceError("addresses");
  using attempt = new JoinerAttempt(commitmentExchange, signal);
  await attempt.reveal();
  await attempt.ask(confirm);
  // The inviter waits until this connection is closed, so close it after storing the inviter.
  using tlsConnection = await attempt.connectOverTls(identity.buildClientContext(authority));
  await attempt.confirm(tlsConnection);
  const peer = await storePairing(services, {
    authority,
    receivedName: offer.name,
    peerName,
    addresses: selectAddressesToStore(offer.addresses, address, tlsConnection.sock),
  });
  logger.info(`join: paired with ${peer.name} (${peer.id})`);
  addressFinder.warnIfNoneFound(peer.name);
  return peer;
}

/**
 * Doesn't continue after the first response: it may come from a stranger, who must not get a second
 * try.
 */
async function exchangeCommitment(
  addresses: readonly (HostAddress | ScopedAddress)[],
  introduction: Omit<Message<typeof COMMITMENT_FIELDS>, "commitment">,
  signal: AbortSignal,
) {
  const errors: unknown[] = [];
  for (const address of addresses) {
    const random = makeRandomValue(HASH_BYTES);
    const commitment = computeCommitment(introduction.authority, random);
    const request = encodeMessage({ ...introduction, commitment });
    let status = 0;
    try {
      return await requestPlain(address, signal, async (connection) => {
        const httpResponse = await connection.post(COMMITMENT_URI, {}, request);
        status = httpResponse.status;
        const response = await readBody(httpResponse);
        if (status === 409) {
          const { reason } = decodeMessage(response, REFUSAL_FIELDS);
          if (reason === "self") throw ownDeviceError("addresses");
          const refusal = REFUSAL_ERRORS[reason];
          const problem = `the device at ${formatCheckedAddress(address)} ${refusal.problem}`;
          throw new PairingError(refusal.code, problem, { reason: refusal.reason });
        }
        if (status !== 200) throw new DeguError(`the status of its response is ${status}`);
        const offer = decodeMessage(response, OFFER_FIELDS);
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
  throw new PairingError(findAttemptsCode(cause), problem, { reason: "no invitation", cause });
}

type CommitmentExchange = Awaited<ReturnType<typeof exchangeCommitment>>;

class JoinerAttempt implements Disposable {
  readonly #exchange: CommitmentExchange;
  /**
   * True once this device has sent its confirmation. Then only the response shows whether the
   * inviter has stored this device.
   */
  #hasConfirmed = false;
  readonly #abortController = new AbortController();
  /** Aborted when the attempt ends or the caller cancels. Every step obeys this signal. */
  readonly #signal: AbortSignal;
  readonly #confirmTimer: ReturnType<typeof setTimeout>;

  constructor(exchange: CommitmentExchange, callerSignal: AbortSignal) {
    this.#exchange = exchange;
    this.#signal = AbortSignal.any([callerSignal, this.#abortController.signal]);
    this.#confirmTimer = setTimeout(() => {
      const error = this.#hasConfirmed
        ? answerLostError(UNCONFIRMED_PROBLEMS["timed out"])
        : this.#notConfirmedError("timed out");
      this.#abortController.abort(error);
    }, CONFIRM_SECONDS * 1000);
  }

  /** The response doesn't depend on a person, so its time limit is short. */
  async reveal(): Promise<void> {
    const { connection, offer, random } = this.#exchange;
    const seconds = PLAIN_REQUEST_MILLISECONDS / 1000;
    const problem = `${offer.name} has not answered in ${seconds} s: check the network`;
    const error = new PairingError("UNREACHABLE", problem);
    const timeoutTimer = setTimeout(
      () => this.#abortController.abort(error),
      PLAIN_REQUEST_MILLISECONDS,
    );
    const message = encodeMessage({ random });
    const send = () => sendMessage(connection, RANDOM_URI, message);
    const responsePromise = this.#runStep(
      send,
      (cause) => this.#notConfirmedError("remote", { cause }),
    );
    this.#checkResponse(await responsePromise.finally(() => clearTimeout(timeoutTimer)));
    // The inviter sends no more bytes, and keeps this connection open while the number is valid. If
    // a read ends, the person at the inviter has answered no.
    const onReadEnd = () => {
      if (!this.#hasConfirmed) this.#abortController.abort(this.#notConfirmedError("remote"));
    };
    connection.sock.read(new Uint8Array(1)).then(onReadEnd, onReadEnd);
  }

  async ask(confirm: ConfirmNumber): Promise<void> {
    const { offer: { name }, authority: { id }, request, response, random } = this.#exchange;
    const number = computeNumber(request, response, random);
    const question = Object.freeze({ number, name, id, signal: this.#signal });
    const makeError = (cause: unknown) => this.#notConfirmedError("local", { cause });
    const isConfirmed = await this.#runStep(() => confirm(question), makeError);
    if (isConfirmed !== true) throw this.#notConfirmedError("local");
  }

  async connectOverTls(sslctx: ClientSslctx): Promise<Connection> {
    const { offer, authority } = this.#exchange;
    const address = makeTlsAddress(this.#exchange);
    const connect = () => connectToInviter(authority, sslctx, [address], this.#signal, null);
    const { connection } = await this.#runStep(connect, (cause) => {
      const problem = `${offer.name} can't be reached at ${formatCheckedAddress(address)}`;
      const message = `${problem}: check the network and the firewall`;
      return new PairingError(findAttemptsCode(cause), message, { cause });
    });
    return connection;
  }

  /** The inviter responds once the person at the inviter has answered. */
  async confirm(tlsConnection: Connection): Promise<void> {
    this.#hasConfirmed = true;
    const problem = `the last answer of ${this.#exchange.offer.name} did not arrive`;
    const message = encodeMessage({});
    const send = () => sendMessage(tlsConnection, CONFIRMED_URI, message);
    this.#checkResponse(await this.#runStep(send, (cause) => answerLostError(problem, { cause })));
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#confirmTimer);
  }

  #notConfirmedError(
    reason: keyof typeof UNCONFIRMED_PROBLEMS,
    options?: ErrorOptions,
  ): PairingError {
    const { name: peerName } = this.#exchange.offer;
    const predicate = UNCONFIRMED_PROBLEMS[reason];
    const problem = reason === "remote" ? `${peerName} ${predicate}` : predicate;
    return new PairingError("NOT_CONFIRMED", problem, { ...options, reason, peerName });
  }

  async #runStep<T>(
    task: () => T | Promise<T>,
    makeError: (cause: unknown) => PairingError,
  ): Promise<T> {
    try {
      this.#signal.throwIfAborted();
      return await awaitUntilAborted(task(), this.#signal);
    } catch (cause) {
      this.#signal.throwIfAborted();
      throw makeError(cause);
    }
  }

  #checkResponse({ status, bytes }: Awaited<ReturnType<typeof sendMessage>>): void {
    if (status === 200 && isEmptyMessage(bytes)) return;
    throw this.#notConfirmedError("remote");
  }
}

/** A DNS name may have several addresses, so the result has the address that has responded. */
function makeTlsAddress({ address, connection, offer: { port } }: CommitmentExchange): Address {
  const [host] = address;
  const isIPAddress = (parseHost(host)?.bytes ?? null) !== null;
  const { hostname } = connection.sock.remoteAddr as Deno.NetAddr;
  return copyWithPort(address, port, isIPAddress ? host : hostname);
}
