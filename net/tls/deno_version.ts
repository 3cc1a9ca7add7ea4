/** This module also loads in older versions of Deno, to refuse them. */

import { DeguError } from "../../base/errors.ts";
import { quote } from "../../internal/quote.ts";

/**
 * TLS uses Deno's `node:tls`, which was incomplete before: until spring 2026, servers did not
 * request client certificates, and up to 2.9.5, clients resumed sessions across contexts.
 */
export const MIN_DENO_VERSION = "2.9.6";

const VERSION_PATTERN = /^(\d+)\.(\d+)\.(\d+)(-[-0-9A-Za-z.]+)?(?:\+.*)?$/;

/**
 * Reports whether a version of Deno is {@linkcode MIN_DENO_VERSION} or later, in the order of
 * Semantic Versioning: a pre-release (`2.9.6-rc.1`) comes before its release, and the commit of a
 * canary (`2.9.6+1a2b3c4`) does not count.
 */
export function isSupportedDeno(version: string): boolean {
  const match = VERSION_PATTERN.exec(version);
  if (match === null) return false;
  const minimumNumbers = MIN_DENO_VERSION.split(".");
  for (let i = 0; i < minimumNumbers.length; i++) {
    const difference = Number(match[i + 1]) - Number(minimumNumbers[i]);
    if (difference !== 0) return difference > 0;
  }
  return match[4] === undefined;
}

export function checkDenoVersion(version: string = Deno.version.deno): void {
  if (isSupportedDeno(version)) return;
  const reason = "older versions don't verify client certificates reliably";
  const advice = 'upgrade it with "deno upgrade" or "npm install --global deno"';
  throw new DeguError(
    `this is Deno ${
      quote(version)
    }, but TLS needs ${MIN_DENO_VERSION} or later: ${reason}; ${advice}`,
  );
}
