/** Thrown values for which `instanceof` or each access to a property throws an error. */

import { ConnectionClosedError, EmptyPreambleError } from "@degu/degu/base";

function makeRevokedProxy(target: object): unknown {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

function throwTrapError(): never {
  throw new Error("of a trap");
}

const throwingHandler: ProxyHandler<object> = new Proxy({}, { get: () => throwTrapError });

export const unreadableErrors: readonly (readonly [name: string, makeError: () => unknown])[] = [
  ["a revoked proxy", () => makeRevokedProxy({})],
  ["a revoked proxy of an error", () => makeRevokedProxy(new Error())],
  ["a revoked proxy of a function", () => makeRevokedProxy(() => {})],
  ["a proxy whose traps throw", () => new Proxy(new Error(), throwingHandler)],
  ...[new EmptyPreambleError(), new ConnectionClosedError(), new DOMException()].map((error) => {
    const makeError = () => new Proxy(error, { get: throwTrapError });
    return [
      `a proxy of ${error.constructor.name} whose properties can't be read`,
      makeError,
    ] as const;
  }),
];
