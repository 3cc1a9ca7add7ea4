/**
 * The equality of {@linkcode assertEquals} in `@std/assert`, as far as the suite compares values.
 */

const TypedArray: abstract new () => ArrayLike<number | bigint> = Object.getPrototypeOf(Uint8Array);

/**
 * Reports whether two values have equal contents. A null-prototype object equals a plain one. Only
 * properties count, so instances with private state are equal if their getters return equal values;
 * `stack` and `cause` of errors are properties.
 *
 * @param compared the pairs that are being compared, or were: in a cycle they count as equal
 */
export function equal(a: unknown, b: unknown, compared = new Map<object, object>()): boolean {
  if (a === b || Object.is(a, b)) return true;
  // Functions are equal only to themselves.
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
  const prototype = prototypeOf(a);
  if (prototype !== prototypeOf(b)) return false;
  if (a instanceof TypedArray && b instanceof TypedArray) return equalElements(a, b);
  if (a instanceof ArrayBuffer && b instanceof ArrayBuffer) {
    return equalElements(new Uint8Array(a), new Uint8Array(b));
  }
  if (a instanceof RegExp || a instanceof URL) return String(a) === String(b);
  if (compared.get(a) === b) return true;
  if (Object.keys(a).length !== Object.keys(b).length) return false;
  compared.set(a, b);
  if (a instanceof Set && b instanceof Set) return equalEntries(a, b, compared);
  if (a instanceof Map && b instanceof Map) return equalEntries(a, b, compared);
  const isPlain = prototype === Object.prototype || prototype === Array.prototype;
  const keysOf = isPlain ? enumerableKeys : allKeys;
  for (const key of new Set([...keysOf(a), ...keysOf(b)])) {
    if ((key in a) !== (key in b)) return false;
    if (!equal(Reflect.get(a, key), Reflect.get(b, key), compared)) return false;
  }
  return true;
}

function prototypeOf(value: object): object {
  return Object.getPrototypeOf(value) ?? Object.prototype;
}

function equalElements(a: ArrayLike<number | bigint>, b: ArrayLike<number | bigint>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i] && !Object.is(a[i], b[i])) return false;
  }
  return true;
}

/**
 * Reports whether both have the same size, and each entry of the first equals an entry of the
 * second, in any order.
 */
function equalEntries<T>(
  a: ReadonlySet<T> | ReadonlyMap<T, unknown>,
  b: ReadonlySet<T> | ReadonlyMap<T, unknown>,
  compared: Map<object, object>,
): boolean {
  const others = [...b.entries()];
  return a.size === b.size &&
    [...a.entries()].every((entry) =>
      others.some((other) =>
        equal(entry[0], other[0], compared) && equal(entry[1], other[1], compared)
      )
    );
}

function enumerableKeys(value: object): PropertyKey[] {
  return Reflect.ownKeys(value).filter((key) =>
    Object.prototype.propertyIsEnumerable.call(value, key)
  );
}

/** Returns every key, including the keys of prototypes. */
function allKeys(value: object): PropertyKey[] {
  const keys: PropertyKey[] = [];
  let holder: object | null = value;
  while (holder !== null && holder !== Object.prototype && holder !== Array.prototype) {
    keys.push(...Reflect.ownKeys(holder));
    holder = Object.getPrototypeOf(holder);
  }
  return keys;
}
