import { type Address, DeguError, type HostAddress, ProtocolError } from "../../base.ts";
import { buildClientSslctx, type Connection } from "../../client.ts";
import { checkSignal, copyOptions } from "../../internal/checks.ts";
import { formatCheckedAddress, isLinkLocal } from "../../base/address.ts";
import { joinSignals } from "../../internal/pause.ts";
import { type DeviceAuthority, readAuthorityDer } from "../identity/authority.ts";
import { formatDeviceId } from "../identity/names.ts";
import { type DeviceServices, storePairing } from "../peers/device_services.ts";
import { PairingError } from "../errors.ts";
import { decodeLine } from "./invitation_line.ts";
import {
  listLinkLocalScopes,
  makeAddressFinder,
  selectAddressesToStore,
} from "./pairing_addresses.ts";
import {
  ANSWER_FIELDS,
  AUTHORITY_URI,
  decodeMessage,
  encodeMessage,
  SECRET_URI,
  VALUE_URI,
} from "./pairing_messages.ts";
import type { Peer } from "../peers/peer_file.ts";
import {
  connectToInviter,
  findAttemptsCode,
  isPlainClosedError,
  isTlsClosedError,
  listAttemptErrors,
  MAX_ATTEMPTS,
  readBody,
  requestPlain,
  sendMessage,
} from "./inviter_client.ts";

/** The name of the peer, the addresses of this device, and a signal that cancels joining. */
export interface JoinOptions {
  /** The name of the peer on this device, instead of the peer's own name. */
  peerName?: string | undefined;
  /**
   * The addresses of this device for later connections, which the other device stores: up to 6. A
   * function may return `undefined` for the default.
   *
   * @default {the current addresses of this device's servers}
   */
  serving?: readonly Address[] | (() => Promise<readonly Address[] | undefined>) | undefined;
  /**
   * Cancels joining, which then rejects with the reason of the signal. After the last response of
   * the other device, the signal has no effect.
   */
  signal?: AbortSignal | undefined;
}

export const JOIN_OPTIONS = ["peerName", "serving", "signal"];

export function ownDeviceError(argument: "line" | "addresses"): PairingError {
  const problem =
    "it is this device itself, or a copy of its directory: a device can't be paired with itself, and each " +
    "device needs its own directory";
  return new PairingError("OWN", `${argument}: ${problem}`, { problem });
}

export function answerLostError(problem: string, options?: ErrorOptions): PairingError {
  return new PairingError("ANSWER_LOST", problem, options);
}

const TOTAL_TIMEOUT_SECONDS = 60;

export async function joinDevice(
  services: DeviceServices,
  line: string,
  options: JoinOptions,
): Promise<Peer> {
  const { peerName, serving, signal: callerSignal } = copyOptions(options, JOIN_OPTIONS);
  checkSignal("signal", callerSignal);
  const { name, identity, peers, logger, closeSignal } = services;
  const addressFinder = makeAddressFinder(services, serving);
  const { keyHash, addresses, secret } = decodeLine(line);
  const id = formatDeviceId(keyHash);
  if (id === identity.authority.id) throw ownDeviceError("line");
  if (peerName !== undefined) await peers.checkFree(peerName, id);
  const introduction = encodeMessage({
    secret,
    authority: identity.authority.raw,
    name,
    addresses: await addressFinder.findAddresses(),
  });
  let inviterText = `the device ${id}`;
  const timeoutController = new AbortController();
  const timeoutTimer = setTimeout(() => {
    const message =
      `joining ${inviterText} took over ${TOTAL_TIMEOUT_SECONDS} s: check the network, and try again`;
    timeoutController.abort(new PairingError("UNREACHABLE", message));
  }, TOTAL_TIMEOUT_SECONDS * 1000);
  const signal = joinSignals(callerSignal, closeSignal, timeoutController.signal)!;
  // Most errors must say that another device may have used the line.
  const runStep = async <T>(
    task: () => T | Promise<T>,
    mayBeOverload = isTlsClosedError,
  ): Promise<T> => {
    try {
      return await task();
    } catch (error) {
      signal.throwIfAborted();
      throw stepError(error, inviterText, mayBeOverload);
    }
  };
  const refusedError = () =>
    new PairingError(
      "REFUSED",
      `${inviterText} has refused what this device sent; its log has the reason`,
    );
  try {
    const storedPeer = await peers.read(id);
    if (storedPeer !== null) inviterText = `${storedPeer.name} (${id})`;
    const authority = await runStep(() => {
      const plainAddresses = addLocalScopes(addresses.map(([host, , port]) => [host, port]));
      return fetchAuthority(id, plainAddresses, signal);
    }, isPlainClosedError);

    // This authority has the id in the line, so only the inviter can complete the handshake.
    const anonymousContext = buildClientSslctx({ ca: authority.ca, checkHostname: false });
    const firstResponse = await runStep(async () => {
      const tlsAddresses = addLocalScopes(addresses.map(([host, port]) => [host, port]));
      const { address, ...inviter } = await connectToInviter(
        authority,
        anonymousContext,
        tlsAddresses,
        signal,
      );
      using connection = inviter.connection;
      return { address, ...await sendMessage(connection, SECRET_URI, introduction) };
    });
    if (firstResponse.status !== 200) throw refusedError();
    const response = await runStep(() => decodeMessage(firstResponse.bytes, ANSWER_FIELDS));
    inviterText = `${response.name} (${id})`;

    const inviter = await runStep(() =>
      connectToInviter(
        authority,
        identity.buildClientContext(authority),
        [firstResponse.address],
        signal,
      )
    );
    // The inviter waits until this connection is closed, so close it after storing the inviter.
    using connection = inviter.connection;
    // After this request, the other device may have stored this device as its peer.
    const proof = encodeMessage({ value: response.value });
    const { status } = await sendMessage(connection, VALUE_URI, proof).catch((cause) => {
      if (!timeoutController.signal.aborted) signal.throwIfAborted();
      throw answerLostError(`the last answer of ${inviterText} did not arrive`, { cause });
    });
    if (status !== 204) throw refusedError();
    const peer = await storePairing(services, {
      authority,
      receivedName: response.name,
      peerName,
      addresses: selectAddressesToStore(response.addresses, firstResponse.address, connection.sock),
    });
    logger.info(`join: paired with ${peer.name} (${peer.id})`);
    addressFinder.warnIfNoneFound(peer.name);
    return peer;
  } finally {
    clearTimeout(timeoutTimer);
  }
}

async function fetchAuthority(
  id: string,
  addresses: readonly Address[],
  signal: AbortSignal,
): Promise<DeviceAuthority> {
  const errors: unknown[] = [];
  for (const address of addresses) {
    try {
      const requestAuthority = async (connection: Connection) => {
        using _ = connection;
        const response = await connection.get(AUTHORITY_URI, {});
        if (response.status === 200) return await readBody(response);
        throw new RangeError(`the status of its response is ${response.status}`);
      };
      // Strangers may overload the plain port, so each address is tried several times.
      const der = await requestPlain(address, signal, requestAuthority, MAX_ATTEMPTS);
      const authority = readAuthorityDer(der);
      if (authority.id === id) return authority;
      throw new RangeError("it has another authority");
    } catch (error) {
      // Another device may use this address now.
      const message = `${formatCheckedAddress(address)} doesn't have the authority of the line`;
      errors.push(isProtocolViolation(error) ? new DeguError(message, { cause: error }) : error);
    }
  }
  throw new AggregateError(errors, "no address has the authority of the line");
}

/** If there are other addresses and the permission is missing, link-local addresses are omitted. */
function addLocalScopes(addresses: readonly HostAddress[]): Address[] {
  const { linkLocal = [], otherAddresses = [] } = Object.groupBy(
    addresses,
    ([host]) => isLinkLocal(host) ? "linkLocal" : "otherAddresses",
  );
  const permission = { name: "sys", kind: "networkInterfaces" } as const;
  // Don't prompt for a permission because of link-local addresses if there are other addresses to
  // try.
  const mayListInterfaces = linkLocal.length > 0 &&
    (otherAddresses.length === 0 || Deno.permissions.querySync(permission).state === "granted");
  const scopes = mayListInterfaces ? listLinkLocalScopes() : [];
  return [
    ...otherAddresses,
    ...scopes.flatMap((scope) => linkLocal.map(([host, port]): Address => [host, port, 0, scope])),
  ];
}

function stepError(
  cause: unknown,
  inviterText: string,
  mayBeOverload: (error: unknown) => boolean,
): PairingError {
  const errors = listAttemptErrors(cause);
  if (errors.some(isProtocolViolation)) {
    const { message } = cause as Error;
    return new PairingError("BAD_ANSWER", `the answer of ${inviterText} is not valid: ${message}`, {
      cause,
    });
  }
  // An overloaded port is more likely than another program that now uses the port.
  const code = errors.some(mayBeOverload) ? "BUSY" : findAttemptsCode(cause);
  const problem = {
    BUSY: `${inviterText} closes connections before they are encrypted, also after retries`,
    NOT_OPEN: "no invitation is open at an address of the line",
    UNREACHABLE: `${inviterText} can't be reached at an address of the line`,
  }[code];
  return new PairingError(code, problem, { reason: "line unusable", cause });
}

function isProtocolViolation(error: unknown): boolean {
  return error instanceof ProtocolError || error instanceof RangeError;
}
