/**
 * Random requests with bodies that apps ignore, read in part or read too late, over TCP, a Unix
 * socket and TLS, and through a proxy: the inputs of the fuzzers.
 */
import { ignoredBodies } from "../fuzz/ignored_bodies.ts";
import { Random } from "../fuzz/random.ts";

const INPUTS = 120;

for (const [name, makeFuzzer] of Object.entries(ignoredBodies)) {
  Deno.test(`${name}: no request is answered twice or as another one, and no body is read as a request`, async () => {
    const fuzzer = makeFuzzer();
    const random = new Random(1);
    try {
      for (let i = 0; i < INPUTS; i++) {
        const input = fuzzer.grammar(random);
        try {
          await fuzzer.check(input);
        } catch (cause) {
          throw new Error(`input ${input}`, { cause });
        }
      }
    } finally {
      await fuzzer.close?.();
    }
  });
}
