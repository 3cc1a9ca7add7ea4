/**
 * The messages are neither secret nor authenticated. Only the number, which two people compare,
 * proves that the messages are genuine.
 */

import {
  type AppObject,
  buildServerSslctx,
  type Logger,
  type Request,
  type ResponseTuple,
  type ServerSslctx,
  type Session,
} from "../../server.ts";
import { awaitUntilAborted, pause } from "../../internal/pause.ts";
import { plainMessageOf } from "../../internal/caught_errors.ts";
import { type DeviceAuthority, readAuthorityDer } from "../identity/authority.ts";
import type { DeviceServices } from "../peers/device_services.ts";
import { PairingError } from "../errors.ts";
import type { AddressFinder } from "./pairing_addresses.ts";
import {
  AUTHORITY_URI,
  COMMITMENT_FIELDS,
  COMMITMENT_URI,
  computeCommitment,
  computeNumber,
  decodeMessage,
  encodeMessage,
  HASH_BYTES,
  makeRandomValue,
  type Message,
  OPENING_FIELDS,
  RANDOM_URI,
  readMessage,
} from "./pairing_messages.ts";
import {
  type LineEvent,
  type LineState,
  NUMBER_TRANSITIONS,
  type NumberEvent,
  type NumberState,
  StateMachine,
} from "./pairing_state.ts";
import { closeSession, type PairingConnection, PairingConnections } from "./pairing_connections.ts";

/** The question for a person who compares the number. */
export interface PairingQuestion {
  /**
   * Six digits. The other device shows the same digits, unless a stranger is between the two
   * devices.
   */
  readonly number: string;
  /** The name that the other device has for itself. */
  readonly name: string;
  /** The id of the other device. */
  readonly id: string;
  /**
   * Aborted when the answer is not needed any more. A listener must not throw: its error would be
   * uncaught, and would end the process.
   */
  readonly signal: AbortSignal;
}

/** Asks whether the other device shows the same number. Only `true` confirms. */
export type ConfirmNumber = (question: PairingQuestion) => boolean | Promise<boolean>;

/**
 * The maximum number of unconfirmed numbers of one invitation. Each number gives a stranger between
 * the two devices one chance in a million.
 */
const MAX_TRIES = 5;
const MAX_REVEAL_MILLISECONDS = 5000;
/** The time limit for the answers of both people and for the reconnect of the joiner. */
export const CONFIRM_SECONDS = 120;

/** The attempt counts as a try once the response to the commitment is made. */
export class NumberAttempt {
  readonly #stateMachine: StateMachine<NumberState, NumberEvent>;
  /** The body of the response, as it was sent. */
  response: Uint8Array = new Uint8Array();
  readonly abortController = new AbortController();
  readonly confirmed = Promise.withResolvers<void>();
  /** The plain session, then the session over TLS in which the joiner reconnects. */
  readonly sessions: Session[] = [];
  #timeLimitTimer: ReturnType<typeof setTimeout> | undefined;

  /** @param request The commitment, as it was sent. */
  constructor(
    readonly authority: DeviceAuthority,
    readonly introduction: Message<typeof COMMITMENT_FIELDS>,
    readonly request: Uint8Array,
    logger: Pick<Logger, "error">,
  ) {
    this.#stateMachine = new StateMachine(NUMBER_TRANSITIONS, "opened", logger);
    this.confirmed.promise.catch(() => {});
  }

  get state(): NumberState {
    return this.#stateMachine.state;
  }

  apply(event: Exclude<NumberEvent, "end">): NumberState {
    const state = this.#stateMachine.apply(event);
    if (state === "confirmed") this.confirmed.resolve();
    if (state === "storing") clearTimeout(this.#timeLimitTimer);
    return state;
  }

  addSession(session: Session): void {
    const { signal } = session;
    this.sessions.push(session);
    signal.addEventListener("abort", () => this.end(signal.reason));
    if (signal.aborted) this.end(signal.reason);
  }

  setTimeLimit(milliseconds: number, reason: Error): void {
    clearTimeout(this.#timeLimitTimer);
    this.#timeLimitTimer = setTimeout(() => this.end(reason), milliseconds);
  }

  end(reason: unknown): void {
    if (this.#stateMachine.apply("end") !== "ended" || this.abortController.signal.aborted) return;
    clearTimeout(this.#timeLimitTimer);
    this.confirmed.reject(reason);
    this.abortController.abort(reason);
    // Close only the plain session: over TLS, the joiner must get a response to distinguish a no
    // from a lost response.
    this.sessions[0]?.close(reason);
  }
}

export class PlainPorts {
  readonly #services: DeviceServices;
  readonly #setTlsContext: (sslctx: ServerSslctx) => void;
  readonly #addressFinder: AddressFinder;
  readonly #confirm: ConfirmNumber | undefined;
  readonly #lineStateMachine: StateMachine<LineState, LineEvent>;
  readonly #connections = new PairingConnections();
  readonly #numbersUsedUp = Promise.withResolvers<void>();
  #lastAttempt: NumberAttempt | null = null;
  #tryCount = 0;

  /**
   * @param lineStateMachine The state of the line. While a device has the line, and after its end,
   * no device can pair by a number.
   */
  constructor(
    services: DeviceServices,
    lineStateMachine: StateMachine<LineState, LineEvent>,
    setTlsContext: (sslctx: ServerSslctx) => void,
    addressFinder: AddressFinder,
    confirm: ConfirmNumber | undefined,
  ) {
    this.#services = services;
    this.#lineStateMachine = lineStateMachine;
    this.#setTlsContext = setTlsContext;
    this.#addressFinder = addressFinder;
    this.#confirm = confirm;
  }

  get lastAttempt(): NumberAttempt | null {
    return this.#lastAttempt;
  }

  get exhausted(): Promise<void> {
    return this.#numbersUsedUp.promise;
  }

  /** @param port The port for TLS on the same host. */
  makeApp(port: number): AppObject {
    return {
      onConnect: (session, socket) => this.#connections.add(session, socket),
      handle: (request, session) => this.#respond(request, session, port),
    };
  }

  async #respond(request: Request, session: Session, port: number): Promise<ResponseTuple> {
    const { method, uri, body, headers } = request;
    const connection = this.#connections.find(session);
    // A web page, whose requests have an origin, must not be able to use this port.
    if (connection === undefined || "origin" in headers) return closeSession(session);
    if (method === "GET" && uri === AUTHORITY_URI && body === null) {
      const type = { "content-type": "application/pkix-cert" };
      return [200, "OK", type, this.#services.identity.authority.raw];
    }
    const bytes = this.#confirm === undefined ? null : await readMessage(request);
    if (bytes === null) return closeSession(session);
    try {
      if (uri === COMMITMENT_URI) return await this.#respondToCommitment(bytes, connection, port);
      if (uri === RANDOM_URI) return this.#respondToRandom(bytes, connection);
    } catch (error) {
      return closeSession(session, error);
    }
    return closeSession(session);
  }

  /** Checks the previous attempt and sets the new attempt in the same tick. */
  async #respondToCommitment(
    bytes: Uint8Array,
    connection: PairingConnection,
    port: number,
  ): Promise<ResponseTuple> {
    const { session } = connection;
    const { identity, name, logger } = this.#services;
    const introduction = decodeMessage(bytes, COMMITMENT_FIELDS);
    const authority = readAuthorityDer(introduction.authority);
    if (!connection.isWaiting) return closeSession(session);
    const isOpen = this.#lineStateMachine.state === "open" ||
      this.#lineStateMachine.state === "claimed";
    const reason = authority.id === identity.authority.id
      ? "self"
      : (this.#lastAttempt?.state ?? "ended") !== "ended"
      ? "busy"
      : !isOpen || this.#tryCount === MAX_TRIES
      ? "closed"
      : null;
    if (reason !== null) return [409, "Conflict", {}, encodeMessage({ reason })];
    const attempt = new NumberAttempt(authority, introduction, bytes, logger);
    this.#lastAttempt = attempt;
    attempt.abortController.signal.addEventListener("abort", () => this.#onAttemptEnd(attempt));
    this.#connections.removeTimeLimit(connection);
    attempt.addSession(session);
    const addresses = await this.#addressFinder.findAddresses();
    if (attempt.apply("answer") === "ended") return closeSession(session);
    this.#tryCount++;
    const timeoutError = new Deno.errors.TimedOut(
      "the joiner has not revealed its random value in 5 s",
    );
    attempt.setTimeLimit(MAX_REVEAL_MILLISECONDS, timeoutError);
    this.#setTlsContext(buildServerSslctx(identity.makeOpenServerConfig(authority)));
    const random = makeRandomValue(HASH_BYTES);
    attempt.response = encodeMessage({
      authority: identity.authority.raw,
      name,
      addresses,
      random,
      port,
    });
    return [200, "OK", {}, attempt.response];
  }

  #respondToRandom(bytes: Uint8Array, { session }: PairingConnection): ResponseTuple {
    const attempt = this.#lastAttempt;
    if (attempt?.state !== "answered" || attempt.sessions[0] !== session) {
      return closeSession(session);
    }
    const { random } = decodeMessage(bytes, OPENING_FIELDS);
    const { authority, introduction, request, response } = attempt;
    const isOpeningValid = computeCommitment(authority.raw, random)
      .every((byte, index) => byte === introduction.commitment[index]);
    if (!isOpeningValid) return closeSession(session);
    attempt.apply("reveal");
    attempt.setTimeLimit(
      CONFIRM_SECONDS * 1000,
      new Deno.errors.TimedOut("no answer within 120 s"),
    );
    this.#askPerson(attempt, computeNumber(request, response, random));
    return [200, "OK", {}, encodeMessage({})];
  }

  async #askPerson(attempt: NumberAttempt, number: string): Promise<void> {
    const { abortController: { signal }, authority: { id }, introduction: { name } } = attempt;
    // Send the response first: a `confirm` that blocks the process would delay the response.
    await pause(0, signal);
    if (signal.aborted) return;
    try {
      const question = Object.freeze({ number, name, id, signal });
      const isConfirmed = await awaitUntilAborted(this.#confirm!(question), signal) === true;
      if (isConfirmed) attempt.apply("accept");
      else attempt.end(notConfirmedError(name));
    } catch (error) {
      if (signal.aborted) return;
      this.#services.logger.error(
        `invitation: the function confirm has failed: ${plainMessageOf(error)}`,
      );
      attempt.end(notConfirmedError(name, { cause: error }));
    }
  }

  #onAttemptEnd(attempt: NumberAttempt): void {
    const { authority: { id }, introduction: { name }, response, abortController } = attempt;
    const { identity, logger } = this.#services;
    this.#setTlsContext(buildServerSslctx(identity.makeOpenServerConfig()));
    // If the joiner disconnects before the response, don't log: a stranger could fill the log.
    if (response.length === 0) return;
    const problemText = plainMessageOf(abortController.signal.reason);
    logger.info(`invitation: not paired by a number with ${name} (${id}): ${problemText}`);
    if (this.#tryCount < MAX_TRIES) return;
    const problem =
      `${MAX_TRIES} numbers were not confirmed, so no device can join by a number: invite again, or use the line`;
    logger.warn(`invitation: ${problem}`, { error: new PairingError("NOT_OPEN", problem) });
    this.#numbersUsedUp.resolve();
  }
}

function notConfirmedError(peerName: string, options?: ErrorOptions): PairingError {
  const details = { ...options, reason: "local", peerName } as const;
  return new PairingError("NOT_CONFIRMED", "not confirmed on this device", details);
}
