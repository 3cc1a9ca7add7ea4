/** Changes by other processes are noticed, even if the system does not report them. */
import { join } from "@std/path";
import { DirectoryWatch } from "@degu/internal/device/directory_watch.ts";
import { tempDir } from "@degu/testing/directories.ts";
import { within } from "@degu/testing/raw_peer.ts";

type WatchFs = typeof Deno.watchFs;

/** Where nothing changes. */
const ELSEWHERE = decodeURIComponent(new URL("../support/offline", import.meta.url).pathname);

const realWatchFs: WatchFs = Deno.watchFs;

/** How a system may watch; each file of tests has a `Deno` of its own. */
const SYSTEMS: Record<string, WatchFs> = {
  "tells": realWatchFs,
  "has no watches left": () => {
    throw new Error("the limit of watches is reached");
  },
  // As over a network, where another machine makes the changes.
  "never tells": () => realWatchFs(ELSEWHERE, { recursive: false }),
};

/** Watches a directory, and says when something was seen. */
class Observer implements AsyncDisposable {
  readonly #watch: DirectoryWatch;
  #seen = Promise.withResolvers<void>();

  constructor(dir: string) {
    this.#watch = new DirectoryWatch(dir, () => {
      this.#seen.resolve();
      return Promise.resolve(true);
    });
  }

  /** Resolves once something is seen that was not before. */
  async see(what: string): Promise<void> {
    await within(this.#seen.promise, `${what} is seen`, 20);
    this.#seen = Promise.withResolvers();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#watch[Symbol.asyncDispose]();
  }
}

for (const [name, watchFs] of Object.entries(SYSTEMS)) {
  Deno.test({
    name: `changes are noticed if the system ${name}`,
    ignore: Deno.build.os !== "linux",
    async fn() {
      await using dir = await tempDir();
      Deno.watchFs = watchFs;
      try {
        await using observer = new Observer(dir.path);
        for (const file of ["a", "b", "c"]) {
          await Deno.writeTextFile(join(dir.path, file), "");
          await observer.see(file);
        }
      } finally {
        Deno.watchFs = realWatchFs;
      }
    },
  });
}

Deno.test("changes are noticed after the directory was restored", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "watched");
  await Deno.mkdir(path);
  await using observer = new Observer(path);
  await observer.see("the first change");
  await Deno.remove(path, { recursive: true });
  await observer.see("that it is gone");
  await Deno.mkdir(path);
  for (const file of ["a", "b", "c"]) {
    await Deno.writeTextFile(join(path, file), "");
    await observer.see(file);
  }
});

Deno.test("changes are noticed in a directory that replaced the watched one", async () => {
  await using dir = await tempDir();
  const parent = join(dir.path, "parent");
  const path = join(parent, "watched");
  await Deno.mkdir(path, { recursive: true });
  await using observer = new Observer(path);
  await observer.see("the first change");
  // The watched one itself is not renamed, so the system says nothing.
  await Deno.rename(parent, join(dir.path, "away"));
  await Deno.mkdir(path, { recursive: true });
  await observer.see("that it is another one");
  for (const file of ["a", "b", "c"]) {
    await Deno.writeTextFile(join(path, file), "");
    await observer.see(file);
  }
});

Deno.test("a change that could not be processed is reported again until it was", async () => {
  await using dir = await tempDir();
  const path = join(dir.path, "watched");
  await Deno.mkdir(path);
  const followed = Promise.withResolvers<void>();
  let failures = 5;
  await using _watch = new DirectoryWatch(path, () => {
    if (failures-- > 0) return Promise.resolve(false);
    followed.resolve();
    return Promise.resolve(true);
  });
  await within(followed.promise, "the sixth call", 20);
});
