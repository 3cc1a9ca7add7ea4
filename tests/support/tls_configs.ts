import { assert } from "@std/assert";
import type { ClientSslconfig } from "@degu/degu/client";
import type { ServerSslconfig } from "@degu/degu/server";

/** Asserts that a text has no part of a PEM file. */
export function assertNoSecret(text: string): void {
  assert(!text.includes("PRIVATE KEY"), text);
  assert(!text.includes("MIG"), text);
}

export async function readTexts(files: ClientSslconfig | ServerSslconfig) {
  const [cert, key, ca] = await Promise.all(
    [files.certFile, files.keyFile, files.caFile].map((path) => Deno.readTextFile(path!)),
  );
  return { cert: cert!, key: key!, ca: ca! };
}
