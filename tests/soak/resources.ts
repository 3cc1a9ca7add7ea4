/**
 * What the process holds.
 *
 * @module
 */

/** Memory in bytes, and open files, sockets and pipes. */
export interface Resources {
  readonly rss: number;
  readonly heap: number;
  readonly descriptors: number;
}

/** Measures, after a collection where the process was started with one. */
export async function measure(): Promise<Resources> {
  (globalThis as { gc?: () => void }).gc?.();
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

/** Waits, for some seconds at most, until there are no more descriptors than before. */
export async function settle(before: number, seconds: number): Promise<Resources> {
  for (let i = 0;; i++) {
    const now = await measure();
    if (now.descriptors <= before || i >= seconds * 5) return now;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
