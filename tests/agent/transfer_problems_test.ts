/** Why a file could not be moved. */
import { assertEquals } from "@std/assert";
import { TlsError } from "@degu/degu/base";
import { TransferError } from "@degu/degu/files";
import { alreadyThere, endsAll, explainTransfer } from "@degu/internal/agent/transfer_problems.ts";

const status = (status: number) => new TransferError("STATUS", `status ${status}`, { status });

Deno.test("a status is explained by the operation", () => {
  assertEquals(explainTransfer(status(404), "get"), "it is not there any more");
  assertEquals(explainTransfer(status(412), "put"), explainTransfer(alreadyThere(), "put"));
  assertEquals(
    explainTransfer(status(409), "delete"),
    "the directory is not empty: remove first what is in it",
  );
  assertEquals(explainTransfer(status(418), "get"), "status 418");
  assertEquals(
    explainTransfer(status(303), "get"),
    "it is a directory by now: run the same command again",
  );
});

Deno.test("the advice that the library has for programs is not passed on", () => {
  const message = 'HEAD "/a": the server has no SHA-256 of it (repr-digest, RFC 9530)';
  const advice = "call again with verify: false to skip the check";
  const error = new TransferError("UNEXPECTED_RESPONSE", `${message}; ${advice}`);
  assertEquals(
    explainTransfer(error, "get"),
    `${message}; is another version of degu running there?`,
  );
});

Deno.test("the next file is tried if only this one has failed", () => {
  const goesOn = [
    status(403),
    status(404),
    status(412),
    status(413),
    alreadyThere(),
    new Deno.errors.PermissionDenied(),
    new TransferError("CHANGED", ""),
  ];
  const ends = [
    status(507),
    status(503),
    new TransferError("DISK_FULL", ""),
    new Deno.errors.ConnectionRefused(),
    new TlsError("UNTRUSTED", ""),
  ];
  for (const error of goesOn) assertEquals(endsAll(error), false, Deno.inspect(error));
  for (const error of ends) assertEquals(endsAll(error), true, Deno.inspect(error));
});
