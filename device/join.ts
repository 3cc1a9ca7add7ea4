/** The end of a pairing that joins by a line. */

import {
  type Address,
  DeguError,
  EmptyPreambleError,
  type HostAddress,
  ProtocolError,
} from "../base.ts";
import { buildClientSslctx, type Connection } from "../client.ts";
import { addressText, isLinkLocal } from "../base/address.ts";
import { checkSignal, copyOptions } from "../internal/checks.ts";
import { type DeviceAuthority, readAuthorityDer } from "./identity/authority.ts";
import { deviceId } from "./identity/names.ts";
import { joinSignals } from "../net/connect.ts";
import { type DeviceServices, storePairing } from "./device_services.ts";
import { PairingError, type PairingErrorCode } from "./errors.ts";
import { decodeLine } from "./invitation_line.ts";
import { addressesToStore, addressFinder, linkLocalScopes } from "./pairing_addresses.ts";
import {
  ANSWER,
  AUTHORITY_URI,
  decodeMessage,
  encodeMessage,
  SECRET_URI,
  VALUE_URI,
} from "./pairing_messages.ts";
import type { Peer } from "./peer_store.ts";
import {
  askPlain,
  attemptsOf,
  codeOfAttempts,
  connectToInviter,
  MAX_ATTEMPTS,
  readBody,
  sendMessage,
  wasClosed,
  wasCut,
} from "./reach_inviter.ts";

/** The names and addresses that two devices exchange when they are paired. */
export interface JoinOptions {
  /** A name for the other device here, instead of its own name. */
  peerName?: string | undefined;
  /**
   * Where this device can be reached later: up to 6 addresses, which the other device stores.
   *
   * @default {where servers of this directory listen now}
   */
  serving?: readonly Address[] | undefined;
  /**
   * Cancels joining, which rejects with its reason; no effect once the other device has answered.
   */
  signal?: AbortSignal | undefined;
}

export const JOIN_OPTIONS = ["peerName", "serving", "signal"];
/** Creates the error of a device that is to be paired with itself. */
export function ownDeviceError(argument: "line" | "addresses"): PairingError {
  const problem =
    "it is this device itself, or a copy of its directory: a device can't be paired with itself, and each " +
    "device needs a directory of its own";
  return new PairingError("OWN", `${argument}: ${problem}`, { problem });
}

/** Creates the error of a joiner to whom the last answer does not come. */
export function answerLostError(problem: string, options?: ErrorOptions): PairingError {
  const advice =
    ": that device may have stored this one, which has not stored it; join again with a new invitation";
  return new PairingError("ANSWER_LOST", problem + advice, { ...options, problem });
}

/** The most seconds that joining by a line takes, whatever the other device does. */
const WHOLE_SECONDS = 60;

/** Pairs with the device of a line, for `Device.join()`. */
export async function joinDevice(
  services: DeviceServices,
  line: string,
  options: JoinOptions,
): Promise<Peer> {
  const { peerName, serving, signal: given } = copyOptions(options, JOIN_OPTIONS);
  checkSignal(given);
  const { name, identity, peers, logger, closing } = services;
  const findAddresses = addressFinder(services, serving);
  const { keyHash, addresses, secret } = decodeLine(line);
  const id = deviceId(keyHash);
  if (id === identity.authority.id) throw ownDeviceError("line");
  if (peerName !== undefined) await peers.checkFree(peerName, id);
  const introduction = encodeMessage({
    secret,
    authority: identity.authority.raw,
    name,
    addresses: await findAddresses(),
  });
  let who = `the device ${id}`;
  const timeLimit = new AbortController();
  const timer = setTimeout(() => {
    const message = `joining ${who} took over ${WHOLE_SECONDS} s: check the network, and try again`;
    timeLimit.abort(new PairingError("UNREACHABLE", message));
  }, WHOLE_SECONDS * 1000);
  const joined = joinSignals(given, closing, timeLimit.signal)!;
  // The error of a step says more: the line may be over, because another device has used it.
  const step = async <T>(run: () => T | Promise<T>, isCut = wasClosed): Promise<T> => {
    try {
      return await run();
    } catch (error) {
      joined.throwIfAborted();
      throw explainStep(error, who, isCut);
    }
  };
  const refusedError = () =>
    new PairingError("REFUSED", `${who} has refused what this device sent; its log says why`);
  try {
    const known = await peers.read(id);
    if (known !== null) who = `${known.name} (${id})`;
    const authority = await step(() => {
      const plain = withOwnScopes(addresses.map(([host, , port]) => [host, port]));
      return fetchAuthority(id, plain, joined);
    }, wasCut);

    // The first step sends the secret, with this device's own message, to a device that has proved
    // to be that of the line.
    const anonymous = buildClientSslctx({ ca: authority.ca, checkHostname: false });
    const first = await step(async () => {
      const candidates = withOwnScopes(addresses.map(([host, port]) => [host, port]));
      const found = await connectToInviter(authority, anonymous, candidates, joined);
      using connection = found.connection;
      return { address: found.address, ...await sendMessage(connection, SECRET_URI, introduction) };
    });
    if (first.status !== 200) throw refusedError();
    const answer = await step(() => decodeMessage(first.bytes, ANSWER));
    who = `${answer.name} (${id})`;

    // The second step: sends the value of the answer, with the certificate of this device, and
    // stores the other one.
    const found = await step(() =>
      connectToInviter(authority, identity.clientContext(authority), [first.address], joined)
    );
    // The connection stays open until this device has stored the other one, which waits for that.
    using connection = found.connection;
    // From here on the other device may have stored this one as its peer.
    const proof = encodeMessage({ value: answer.value });
    const { status } = await sendMessage(connection, VALUE_URI, proof).catch((cause) => {
      if (!timeLimit.signal.aborted) joined.throwIfAborted();
      throw answerLostError(`the last answer of ${who} did not arrive`, { cause });
    });
    if (status !== 204) throw refusedError();
    const peer = await storePairing(services, {
      authority,
      receivedName: answer.name,
      peerName,
      addresses: addressesToStore(answer.addresses, first.address, connection.sock),
    });
    logger.info(`join: paired with ${peer.name} (${peer.id})`);
    return peer;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Asks one address after the other for the authority with this id: whatever else one of them gives
 * is not trusted.
 *
 * @throws {AggregateError} if none gives it.
 */
async function fetchAuthority(
  id: string,
  addresses: readonly Address[],
  signal: AbortSignal,
): Promise<DeviceAuthority> {
  const errors: unknown[] = [];
  for (const address of addresses) {
    try {
      const run = async (connection: Connection) => {
        using asked = connection;
        const response = await asked.get(AUTHORITY_URI, {});
        if (response.status === 200) return await readBody(response);
        throw new RangeError(`the status of its answer is ${response.status}`);
      };
      // Strangers may crowd the plain port, so each address is tried several times.
      const der = await askPlain(address, signal, run, MAX_ATTEMPTS);
      const authority = readAuthorityDer(der);
      if (authority.id === id) return authority;
      throw new RangeError("it has another authority");
    } catch (error) {
      signal.throwIfAborted();
      // The device that answers there need not be that of the line.
      const message = `${addressText(address)} does not give the authority of the line`;
      errors.push(isAgainstTheRules(error) ? new DeguError(message, { cause: error }) : error);
    }
  }
  throw new AggregateError(errors, "no address gives the authority of the line");
}

/** The addresses of the line, then each link-local one with the scope of each interface. */
function withOwnScopes(addresses: readonly HostAddress[]): Address[] {
  const { local = [], elsewhere = [] } = Object.groupBy(
    addresses,
    ([host]) => isLinkLocal(host) ? "local" : "elsewhere",
  );
  const permission = { name: "sys", kind: "networkInterfaces" } as const;
  // No permission is requested for link-local addresses if there are others to try.
  const isWanted = local.length > 0 &&
    (elsewhere.length === 0 || Deno.permissions.querySync(permission).state === "granted");
  const scopes = isWanted ? linkLocalScopes() : [];
  return [
    ...elsewhere,
    ...scopes.flatMap((scope) => local.map(([host, port]): Address => [host, port, 0, scope])),
  ];
}

/**
 * The error of a step that failed. Whatever it is, another device may have used the line, unless
 * the answer says otherwise.
 *
 * @param isCut Whether an error says that strangers may crowd the port.
 */
function explainStep(
  cause: unknown,
  who: string,
  isCut: (error: unknown) => boolean,
): PairingError {
  const errors = attemptsOf(cause);
  if (errors.some(isAgainstTheRules)) {
    const { message } = cause as Error;
    return new PairingError("BAD_ANSWER", `the answer of ${who} is not valid: ${message}`, {
      cause,
    });
  }
  const notOpen =
    "this line is not open any more: it has expired, was closed, or another device has used it";
  const fail = (code: PairingErrorCode, problem: string) => {
    const advice = `; check the peers of ${who}, and forget any that you don't recognize`;
    return new PairingError(code, problem + advice, { reason: "line unusable", problem, cause });
  };
  // A port that is crowded by strangers is more likely than one that another program now uses.
  if (errors.some(isCut)) {
    const message =
      `${who} closes connections before they are encrypted, each time it was tried: its ` +
      "port is overloaded, or something in between closes them; try again, and if that doesn't help, " +
      notOpen;
    return fail("BUSY", message);
  }
  const code = codeOfAttempts(cause);
  // An invitation that has ended can be as silent as a device that is far away.
  const message = code === "NOT_OPEN"
    ? notOpen
    : `${who} can't be reached at an address of the line: check that the two are on the same ` +
      `network; if they are, ${notOpen}`;
  return fail(code, message);
}

/** True if the device of the line has answered, but not by the protocol. */
function isAgainstTheRules(error: unknown): boolean {
  if (error instanceof EmptyPreambleError) return false;
  return error instanceof ProtocolError || error instanceof RangeError;
}
