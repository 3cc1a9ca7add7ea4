import type { ClientSslconfig } from "@degu/degu/client";
import type { ServerSslconfig } from "@degu/degu/server";

export async function readTexts(files: ClientSslconfig | ServerSslconfig) {
  const [cert, key, ca] = await Promise.all(
    [files.certFile, files.keyFile, files.caFile].map((path) => Deno.readTextFile(path!)),
  );
  return { cert: cert!, key: key!, ca: ca! };
}
