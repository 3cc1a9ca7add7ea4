/**
 * The plain port of an invitation, which sends the authority and answers devices that pair by a
 * number. Its messages are neither secret nor authenticated. Only the number, which two people
 * compare, proves that they are genuine.
 */

import type { HostAddress, ResponseTuple } from "../base.ts";
import type { AppObject, Logger, Request, ServerSslctx, Session } from "../server.ts";
import { pause } from "../internal/pause.ts";
import { type DeviceAuthority, readAuthorityDer } from "./identity/authority.ts";
import { untilAborted } from "../net/connect.ts";
import { plainMessageOf } from "../net/error_text.ts";
import type { DeviceServices } from "./device_services.ts";
import { PairingError } from "./errors.ts";
import {
  AUTHORITY_URI,
  COMMITMENT,
  COMMITMENT_URI,
  commitmentTo,
  decodeMessage,
  encodeMessage,
  HASH_BYTES,
  makeRandom,
  type Message,
  numberOf,
  OPENING,
  RANDOM_URI,
  readMessage,
} from "./pairing_messages.ts";
import {
  type LineEvent,
  type LineState,
  MAX_TRIES,
  NUMBER_TRANSITIONS,
  type NumberEvent,
  type NumberState,
  StateMachine,
} from "./pairing_state.ts";
import { closeSession, type PairingConnection, PairingConnections } from "./pairing_connections.ts";

/** The question for a person who compares the number. */
export interface PairingQuestion {
  /** Six digits. The other device shows the same, unless a stranger is between the two devices. */
  readonly number: string;
  /** The name that the other device has for itself. */
  readonly name: string;
  /** The id of the other device. */
  readonly id: string;
  /**
   * Aborted when the answer is not needed any more. A listener must not throw: its error is
   * uncaught, and ends the process.
   */
  readonly signal: AbortSignal;
}

/** Asks whether the other device shows the same number. Only `true` confirms. */
export type ConfirmNumber = (question: PairingQuestion) => boolean | Promise<boolean>;

/** The time limit of the joiner for the request that reveals its random value. */
const REVEAL_MILLISECONDS = 5000;
/** The time limit of both people and of the reconnect of the joiner. */
export const CONFIRM_SECONDS = 120;

/** A pairing by a number, from the commitment on: a try once the commitment is answered. */
export class NumberAttempt {
  readonly #state: StateMachine<NumberState, NumberEvent>;
  /** The body of the response, as it was sent. */
  response: Uint8Array = new Uint8Array();
  /** Aborted when the number has ended. */
  readonly abortController = new AbortController();
  /** Resolved when both devices have confirmed; rejected when the number ends before. */
  readonly confirmed = Promise.withResolvers<void>();
  /** The plain session, and the session over TLS in which the joiner reconnects. */
  readonly sessions: Session[] = [];
  #limitTimer: ReturnType<typeof setTimeout> | undefined;

  /** @param request The commitment, as it was sent. */
  constructor(
    readonly authority: DeviceAuthority,
    readonly introduction: Message<typeof COMMITMENT>,
    readonly request: Uint8Array,
    logger: Pick<Logger, "error">,
  ) {
    this.#state = new StateMachine(NUMBER_TRANSITIONS, "opened", (bug) => {
      logger.error(`invitation: ${bug}`);
    });
    this.confirmed.promise.catch(() => {});
  }

  get state(): NumberState {
    return this.#state.state;
  }

  /** Enters the state that follows an event. For the event `end`, call {@linkcode end}. */
  apply(event: Exclude<NumberEvent, "end">): NumberState {
    const state = this.#state.apply(event);
    if (state === "confirmed") this.confirmed.resolve();
    if (state === "storing") clearTimeout(this.#limitTimer);
    return state;
  }

  /** Ends the number when this session ends. */
  add(session: Session): void {
    const { signal } = session;
    this.sessions.push(session);
    signal.addEventListener("abort", () => this.end(signal.reason));
    if (signal.aborted) this.end(signal.reason);
  }

  /** Ends the number unless the next step comes in time. */
  limitTime(milliseconds: number, reason: Error): void {
    clearTimeout(this.#limitTimer);
    this.#limitTimer = setTimeout(() => this.end(reason), milliseconds);
  }

  /** Ends the number, unless the peer is being stored. */
  end(reason: unknown): void {
    if (this.#state.apply("end") !== "ended" || this.abortController.signal.aborted) return;
    clearTimeout(this.#limitTimer);
    this.confirmed.reject(reason);
    this.abortController.abort(reason);
    // Only the plain session is closed: over TLS the joiner gets a response, so that it can
    // distinguish a no from a lost response.
    this.sessions[0]?.close(reason);
  }
}

/** The state that all plain ports of an invitation share. */
export class PlainPort {
  readonly #services: DeviceServices;
  readonly #setTlsContext: (sslctx: ServerSslctx) => void;
  readonly #findAddresses: () => Promise<HostAddress[]>;
  readonly #confirm: ConfirmNumber | undefined;
  readonly #line: StateMachine<LineState, LineEvent>;
  readonly #connections = new PairingConnections();
  readonly #exhausted = Promise.withResolvers<void>();
  #lastAttempt: NumberAttempt | null = null;
  #tries = 0;

  /**
   * @param line The line, which ends pairing by a number as soon as it is answered or ended.
   * @param setTlsContext Replaces the context of the ports for TLS. During an attempt, they request
   * the certificate of the device.
   * @param confirm Without it no device can pair by a number.
   */
  constructor(
    services: DeviceServices,
    line: StateMachine<LineState, LineEvent>,
    setTlsContext: (sslctx: ServerSslctx) => void,
    findAddresses: () => Promise<HostAddress[]>,
    confirm: ConfirmNumber | undefined,
  ) {
    this.#services = services;
    this.#line = line;
    this.#setTlsContext = setTlsContext;
    this.#findAddresses = findAddresses;
    this.#confirm = confirm;
  }

  /** The open attempt, or the last one. */
  get lastAttempt(): NumberAttempt | null {
    return this.#lastAttempt;
  }

  /** Resolves after {@linkcode MAX_TRIES} numbers that were not confirmed. */
  get exhausted(): Promise<void> {
    return this.#exhausted.promise;
  }

  /**
   * Returns the app of one plain port.
   *
   * @param port The port for TLS on the same host.
   */
  app(port: number): AppObject {
    return {
      onConnect: (session, socket) => this.#connections.add(session, socket),
      handle: (request, session) => this.#answer(request, session, port),
    };
  }

  async #answer(request: Request, session: Session, port: number): Promise<ResponseTuple> {
    const { method, uri, body, headers } = request;
    const connection = this.#connections.of(session);
    // A web page must not be able to use this port.
    if (connection === undefined || "origin" in headers) return closeSession(session);
    if (method === "GET" && uri === AUTHORITY_URI && body === null) {
      const type = { "content-type": "application/pkix-cert" };
      return [200, "OK", type, this.#services.identity.authority.raw];
    }
    const bytes = this.#confirm === undefined ? null : await readMessage(request);
    if (bytes === null) return closeSession(session);
    try {
      if (uri === COMMITMENT_URI) return await this.#commit(bytes, connection, port);
      if (uri === RANDOM_URI) return this.#reveal(bytes, connection);
    } catch (error) {
      return closeSession(session, error);
    }
    return closeSession(session);
  }

  /** Answers a commitment. Checks the last attempt and sets the new one in the same tick. */
  async #commit(
    bytes: Uint8Array,
    connection: PairingConnection,
    port: number,
  ): Promise<ResponseTuple> {
    const { session } = connection;
    const { identity, name, logger } = this.#services;
    const introduction = decodeMessage(bytes, COMMITMENT);
    const authority = readAuthorityDer(introduction.authority);
    if (!connection.isWaiting) return closeSession(session);
    const isOpen = this.#line.state === "open" || this.#line.state === "claimed";
    const reason = authority.id === identity.authority.id
      ? "self"
      : (this.#lastAttempt?.state ?? "ended") !== "ended"
      ? "busy"
      : !isOpen || this.#tries === MAX_TRIES
      ? "closed"
      : null;
    if (reason !== null) return [409, "Conflict", {}, encodeMessage({ reason })];
    const attempt = new NumberAttempt(authority, introduction, bytes, logger);
    this.#lastAttempt = attempt;
    attempt.abortController.signal.addEventListener("abort", () => this.#onEnd(attempt));
    this.#connections.keep(connection);
    attempt.add(session);
    const addresses = await this.#findAddresses();
    if (attempt.apply("answer") === "ended") return closeSession(session);
    this.#tries++;
    const timeout = new Deno.errors.TimedOut("the joiner has not revealed its random value in 5 s");
    attempt.limitTime(REVEAL_MILLISECONDS, timeout);
    this.#setTlsContext(identity.openContext(authority));
    const random = makeRandom(HASH_BYTES);
    attempt.response = encodeMessage({
      authority: identity.authority.raw,
      name,
      addresses,
      random,
      port,
    });
    return [200, "OK", {}, attempt.response];
  }

  #reveal(bytes: Uint8Array, { session }: PairingConnection): ResponseTuple {
    const attempt = this.#lastAttempt;
    if (attempt?.state !== "answered" || attempt.sessions[0] !== session) {
      return closeSession(session);
    }
    const { random } = decodeMessage(bytes, OPENING);
    const { authority, introduction, request, response } = attempt;
    const isCommitted = commitmentTo(authority.raw, random)
      .every((byte, index) => byte === introduction.commitment[index]);
    if (!isCommitted) return closeSession(session);
    attempt.apply("reveal");
    attempt.limitTime(CONFIRM_SECONDS * 1000, new Deno.errors.TimedOut("no answer within 120 s"));
    this.#ask(attempt, numberOf(request, response, random));
    return [200, "OK", {}, encodeMessage({})];
  }

  /** Asks the person at this device, until the attempt ends. */
  async #ask(attempt: NumberAttempt, number: string): Promise<void> {
    const { abortController: { signal }, authority: { id }, introduction: { name } } = attempt;
    // The response goes first: a `confirm` that blocks the process would delay it.
    await pause(0, signal);
    if (signal.aborted) return;
    try {
      const question = Object.freeze({ number, name, id, signal });
      const isConfirmed = await untilAborted(this.#confirm!(question), signal) === true;
      if (isConfirmed) attempt.apply("accept");
      else attempt.end(notConfirmedError(name));
    } catch (error) {
      if (signal.aborted) return;
      this.#services.logger.error(`invitation: confirm has failed: ${plainMessageOf(error)}`);
      attempt.end(notConfirmedError(name, { cause: error }));
    }
  }

  /** Logs an attempt that has ended without a pairing. */
  #onEnd(attempt: NumberAttempt): void {
    const { authority: { id }, introduction: { name }, response, abortController } = attempt;
    const { identity, logger } = this.#services;
    this.#setTlsContext(identity.openContext());
    // If the joiner leaves before the response, the attempt is no try: the joiner could fill the
    // log.
    if (response.length === 0) return;
    const problemText = plainMessageOf(abortController.signal.reason);
    logger.info(`invitation: not paired by a number with ${name} (${id}): ${problemText}`);
    if (this.#tries < MAX_TRIES) return;
    const problem =
      `${MAX_TRIES} numbers were not confirmed, so there are no more: invite again, or use the line`;
    logger.warn(`invitation: ${problem}`, { error: new PairingError("NOT_OPEN", problem) });
    this.#exhausted.resolve();
  }
}

/** Makes the reason of an attempt that ends with a no of the person at this device. */
function notConfirmedError(peerName: string, options?: ErrorOptions): PairingError {
  const details = { ...options, reason: "local", peerName } as const;
  return new PairingError("NOT_CONFIRMED", "not confirmed here", details);
}
