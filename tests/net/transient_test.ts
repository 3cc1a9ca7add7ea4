/** Which errors may be over in a moment. */
import { assertEquals } from "@std/assert";
import {
  ConnectionClosedError,
  EmptyPreambleError,
  ProtocolError,
  TlsError,
} from "@degu/degu/base";
import { isTransient, TransferError } from "@degu/degu/files";

const status = (status: number) => new TransferError("STATUS", "", { status });

Deno.test("network errors are transient, and decisions of the other device are not", () => {
  const transient = [
    new Deno.errors.ConnectionRefused(),
    new Deno.errors.ConnectionReset(),
    new Deno.errors.BrokenPipe(),
    new Deno.errors.TimedOut(),
    new Deno.errors.UnexpectedEof(),
    Object.assign(new Error(), { code: "EHOSTUNREACH" }),
    new EmptyPreambleError(),
    new ConnectionClosedError(""),
    new ProtocolError("BODY_INCOMPLETE", ""),
    new TlsError("CLOSED", ""),
    ...[408, 429, 502, 503, 504].map(status),
  ];
  const final = [
    ...[301, 400, 401, 403, 404, 405, 409, 412, 413, 500, 507].map(status),
    ...(["CHANGED", "DIGEST_MISMATCH", "IN_USE", "DISK_FULL", "BAD_LIST"] as const).map((code) =>
      new TransferError(code, "")
    ),
    new TlsError("UNTRUSTED", ""),
    new TlsError("REFUSED_BY_PEER", ""),
    new ProtocolError("BAD_HEADER_NAME", ""),
    new Deno.errors.NotFound(),
    new Deno.errors.PermissionDenied(),
    new Deno.errors.NotCapable(),
    Object.assign(new Error(), { code: "ENOSPC" }),
    new TypeError(),
    "text",
    null,
    undefined,
  ];
  for (const error of transient) assertEquals(isTransient(error), true, Deno.inspect(error));
  for (const error of final) assertEquals(isTransient(error), false, Deno.inspect(error));
});
