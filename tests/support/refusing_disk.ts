/** A tree to copy to a disk that refuses times or permission bits. */

interface SourceFile {
  readonly content: string;
  readonly mode: number;
}

const LARGE = "large".repeat(20_000);

/** Files of every kind of transfer: in a bundle, by themselves, empty, private, replaced. */
const SOURCE: Readonly<Record<string, SourceFile>> = {
  small: { content: "small", mode: 0o644 },
  large: { content: LARGE, mode: 0o755 },
  private: { content: "private", mode: 0o600 },
  "private large": { content: LARGE, mode: 0o600 },
  empty: { content: "", mode: 0o644 },
  "sub/replaced": { content: "new", mode: 0o644 },
  "sub/replaced large": { content: LARGE, mode: 0o644 },
};
const SECONDS = 1_600_000_000;

/**
 * Makes the tree, and a target with older files, one of which is identical.
 *
 * @param dir A directory with an odd disk, `disk`, over `backing`.
 */
export async function makeRefusingTrees(dir: string, name: string) {
  const source = `${dir}/plain/${name}`;
  const backing = `${dir}/backing/${name}`;
  for (const path of [source, backing]) await Deno.mkdir(`${path}/sub`, { recursive: true });
  for (const [path, { content, mode }] of Object.entries(SOURCE)) {
    await Deno.writeTextFile(`${source}/${path}`, content);
    await Deno.chmod(`${source}/${path}`, mode);
    await Deno.utime(`${source}/${path}`, SECONDS, SECONDS);
  }
  for (const path of ["sub/replaced", "sub/replaced large"]) {
    await Deno.writeTextFile(`${backing}/${path}`, "replaced content");
    await Deno.chmod(`${backing}/${path}`, 0o640);
    await Deno.utime(`${backing}/${path}`, 1, 1);
  }
  const findDifferent = (isDifferent: (path: string) => boolean) =>
    Object.keys(SOURCE).filter(isDifferent);
  return {
    source,
    target: `${dir}/disk/${name}`,
    /** Lets the disk refuse operations of this target, such as `"chmod 0 EPERM"`. */
    refuse(faults: readonly string[]) {
      const lines = faults.map((line) => `${line} ^/${name}/.\n`);
      Deno.writeTextFileSync(`${dir}/faults`, lines.join(""));
    },
    findDifferentContents: () =>
      findDifferent((path) =>
        Deno.readTextFileSync(`${backing}/${path}`) !== SOURCE[path]!.content
      ),
    findOtherTimes: () =>
      findDifferent((path) => Number(Deno.statSync(`${backing}/${path}`).mtime) !== SECONDS * 1000),
  };
}
