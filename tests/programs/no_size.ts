/** Copies files of /proc, which have content, but no size, and prints the results as JSON. */
import { download, FilesApp, remoteDigest, upload } from "@degu/degu/files";
import { createTempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { copyTree } from "@degu/testing/trees.ts";

const PROC = "/proc/sys/kernel/random";
const NAME = "boot_id";

async function catchCode(promise: Promise<unknown>): Promise<unknown> {
  const error = await promise.then(() => null, (error) => error);
  return error?.status ?? error?.code ?? error;
}

await using dir = await createTempDir();
await Deno.mkdir(`${dir.path}/target`);
await Deno.mkdir(`${dir.path}/local`);
await using target = serve(new FilesApp(`${dir.path}/target`, { list: true, write: true }));
await using source = serve(new FilesApp(PROC, { list: true }));
const targetClient = target.makeClient();
const sourceClient = source.makeClient();
const filter = {
  file: ({ name }: { readonly name: string }) => name === NAME,
  directory: () => false,
};
const up = await copyTree("upload", targetClient, PROC, "/", { filter });
const down = await copyTree("download", sourceClient, `${dir.path}/local`, "/", { filter });
console.log(JSON.stringify({
  upload: await catchCode(upload(targetClient, `${PROC}/${NAME}`, [NAME])),
  download: await catchCode(download(sourceClient, [NAME], `${dir.path}/local/x`)),
  digest: await catchCode(remoteDigest(sourceClient, [NAME])),
  trees: [up, down].map(({ outcomes, errors }) => [
    outcomes,
    (errors[NAME] as { code?: string | null; status?: number }).status ??
      (errors[NAME] as { code?: string | null }).code,
  ]),
  copied: [`${dir.path}/target`, `${dir.path}/local`].flatMap((path) =>
    [...Deno.readDirSync(path)].map(({ name }) => name).filter((name) => !name.startsWith("."))
  ),
}));
