import { type Address, type ConnectionError, DeguError } from "../base.ts";

/**
 * The reason why two devices were not paired.
 *
 * - `"NOT_AN_INVITATION"`: the text is not the line of an invitation.
 * - `"GARBLED"`: a part of the line is missing, or was changed on the way.
 * - `"OTHER_VERSION"`: another version of Degu has made the line.
 * - `"EXPIRED"`: the line expired more than a day ago, by the clock of this device.
 * - `"OWN"`: the other device is this device, or a copy of its directory.
 * - `"NOT_OPEN"`: the invitation has expired, was closed or was used, or has no tries left.
 * - `"UNREACHABLE"`: the other device doesn't answer at any of its addresses.
 * - `"REFUSED"`: the other device has refused the message of this device; its log has the reason.
 * - `"BAD_ANSWER"`: the response of the other device breaks the protocol.
 * - `"ANSWER_LOST"`: the last response did not arrive, so the other device may have stored this
 *   device.
 * - `"NOT_CONFIRMED"`: a person at one of the devices has not confirmed the number.
 * - `"BUSY"`: the person at the other device is comparing the number of a third device, or its port
 *   is overloaded.
 * - `"NAME_TAKEN"`: another peer, or this device, has the name `peerName`.
 */
export type PairingErrorCode =
  | "NOT_AN_INVITATION"
  | "GARBLED"
  | "OTHER_VERSION"
  | "EXPIRED"
  | "OWN"
  | "NOT_OPEN"
  | "UNREACHABLE"
  | "REFUSED"
  | "BAD_ANSWER"
  | "ANSWER_LOST"
  | "NOT_CONFIRMED"
  | "BUSY"
  | "NAME_TAKEN";

/**
 * The error of a pairing that failed, because of the line or because of the other device.
 *
 * @example
 * ```ts
 * import { Device, PairingError } from "@degu/degu/device";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const dir = await Deno.makeTempDir();
 * await using device = await Device.open(dir, { name: "viewer" });
 * const error = await assertRejects(() => device.join("degu:AgEC"), PairingError);
 * assertEquals(error.code, "GARBLED");
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export class PairingError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "PairingError";
  /** The reason, in capitals: `"NOT_OPEN"`. Stable, unlike the message. */
  override readonly code: PairingErrorCode;
  /** A more specific reason than the code; `null` for codes without specific reasons. */
  readonly reason:
    /** The person at this device has not confirmed the number. */
    | "local"
    /** The person at the other device has not confirmed the number, or that device disconnected. */
    | "remote"
    /** The person at this device or at the other device has not answered in time. */
    | "timed out"
    /** The person at the other device is comparing the number of a third device. */
    | "busy"
    /** The invitation of the other device has no tries left. */
    | "no numbers left"
    /** No device with an open invitation responded at the addresses of the call. */
    | "no invitation"
    /** The invitation of the line has ended, or the device that invited can't be reached. */
    | "line unusable"
    /** A device with another id than the announced id has answered. */
    | "other id"
    | null;
  /**
   * The name that is taken, if the code is `"NAME_TAKEN"`; the name of the other device, if
   * the code is `"NOT_CONFIRMED"`; else `null`.
   */
  readonly peerName: string | null;

  /** @internal */
  constructor(
    code: PairingErrorCode,
    message: string,
    options?: ErrorOptions & {
      problem?: string | undefined;
      reason?: PairingError["reason"] | undefined;
      peerName?: string | undefined;
    },
  ) {
    super(message, options);
    this.code = code;
    this.reason = options?.reason ?? null;
    this.peerName = options?.peerName ?? null;
  }
}

/**
 * The reason why there is no connection to a peer.
 *
 * - `"UNKNOWN"`: this device has no such peer, or can't use its file; the message has the reason.
 * - `"FORGOTTEN"`: this device has forgotten the peer, or its file can't be used any more.
 * - `"NO_ADDRESS"`: no address of the peer is known.
 * - `"UNREACHABLE"`: no address of the peer answers; `cause` is an `AggregateError` with the error
 *   of each address. Calling again may succeed.
 * - `"CLOSED"`: the device was closed.
 */
export type DeviceErrorCode =
  | "UNKNOWN"
  | "FORGOTTEN"
  | "NO_ADDRESS"
  | "UNREACHABLE"
  | "CLOSED";

/**
 * The error of a peer that is unknown, was forgotten or can't be reached, or of a closed device.
 *
 * @example
 * ```ts
 * import { isTransient } from "@degu/degu/client";
 * import { DeviceError } from "@degu/degu/device";
 * import { TempDevices } from "@degu/degu/device/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * await using temporary = await TempDevices.create("camera", "viewer");
 * const client = await temporary.devices.viewer.client("camera", {
 *   addresses: [["127.0.0.1", 1]], // a port without a listener
 * });
 * const error = await assertRejects(() => client.connect(), DeviceError);
 * assertEquals([error.code, isTransient(error)], ["UNREACHABLE", true]);
 * ```
 */
export class DeviceError extends DeguError {
  /** The name of the class. */
  override readonly name: string = "DeviceError";
  /** The reason in capitals, for example `"UNREACHABLE"`. Stable, unlike the message. */
  override readonly code: DeviceErrorCode;
  /**
   * Why the most informative of the attempts has failed, if the code is `"UNREACHABLE"`, as in a
   * `ConnectionError`; else `null`.
   */
  readonly fault: ConnectionError["fault"] | null;
  /** The address of that attempt; `null` if no address is known. */
  readonly address: Address | null;

  /** @internal */
  constructor(
    code: DeviceErrorCode,
    message: string,
    options?: ErrorOptions & Partial<Pick<DeviceError, "fault" | "address">>,
  ) {
    const isUnreachable = code === "UNREACHABLE";
    super(message, { ...options, isTransient: isUnreachable });
    this.code = code;
    this.fault = options?.fault ?? (isUnreachable ? "unreachable" : null);
    this.address = options?.address ?? null;
  }
}
