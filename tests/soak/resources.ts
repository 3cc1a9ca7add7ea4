/** The resources of the process. */

/** Memory in bytes, and open files, sockets and pipes. */
export interface Resources {
  readonly rss: number;
  readonly heap: number;
  readonly descriptors: number;
}

const COLLECTIONS = 8, PAUSE_MILLISECONDS = 25;

/** Measures, after collections where the process was started with `--v8-flags=--expose-gc`. */
export async function measure(): Promise<Resources> {
  // What a finalizer lets go of is only found by the next one.
  for (let i = 0; i < COLLECTIONS; i++) {
    (globalThis as { gc?: () => void }).gc?.();
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MILLISECONDS));
  }
  const { rss, heapUsed } = Deno.memoryUsage();
  return { rss, heap: heapUsed, descriptors: await countDescriptors() };
}

/** Deno lets nobody but a program with every permission read /proc/self/fd, so another program does. */
async function countDescriptors(): Promise<number> {
  const { stdout } = await new Deno.Command("ls", {
    args: [`/proc/${Deno.pid}/fd`],
    stdin: "null",
    stderr: "null",
  }).output();
  return new TextDecoder().decode(stdout).split("\n").length - 1;
}

/** Longer than any time-out of the servers, to which some connections are left. */
const IDLE_MILLISECONDS = 9000;
const MOST_ATTEMPTS = 20;

/** Waits until nothing can be going on any more, and then until there are no more descriptors than before, but not for ever. */
export async function settle(before: number): Promise<Resources> {
  await new Promise((resolve) => setTimeout(resolve, IDLE_MILLISECONDS));
  for (let attempt = 0;; attempt++) {
    const now = await measure();
    if (now.descriptors <= before || attempt === MOST_ATTEMPTS) return now;
  }
}
