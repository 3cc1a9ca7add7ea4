/**
 * What {@linkcode assertEquals} of `@std/assert` treats as equal.
 *
 * @module
 */

/** A constructor of values that say all that they are as a string. */
type StringComparable = { readonly prototype: object } | undefined;

const TypedArray: abstract new () => ArrayLike<number | bigint> = Object.getPrototypeOf(Uint8Array);

/** The prototypes of values that are equal where their strings are. */
const STRING_COMPARABLE = new Set<object | null>(
  [RegExp, URL, URLSearchParams, Intl.Locale, ...temporalTypes()].flatMap((type) =>
    type === undefined ? [] : [type.prototype]
  ),
);

/**
 * Whether two values have equal contents. A null-prototype object equals a plain one. What no
 * property shows does not count, so instances with private state are equal where their getters
 * return equal values; `stack` and `cause` of errors are properties.
 *
 * @throws {TypeError} if it meets two weak maps or two weak sets
 */
export function equal(a: unknown, b: unknown): boolean {
  return equalWithin(a, b, new Map());
}

/** @param compared the pairs that are being compared, or were: in a cycle they count as equal */
function equalWithin(a: unknown, b: unknown, compared: Map<object, object>): boolean {
  if (a === b || Object.is(a, b)) return true;
  if (!isObject(a) || !isObject(b)) return false;
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
  const prototype = prototypeOf(a);
  if (prototype !== prototypeOf(b)) return false;
  if (a instanceof TypedArray && b instanceof TypedArray) return equalElements(a, b);
  if (isBuffer(a) && isBuffer(b)) return equalElements(new Uint8Array(a), new Uint8Array(b));
  if (a instanceof WeakMap || a instanceof WeakSet) {
    throw new TypeError(`cannot compare two instances of ${a.constructor.name}`);
  }
  if (a instanceof WeakRef && b instanceof WeakRef) {
    return equalWithin(a.deref(), b.deref(), compared);
  }
  if (compared.get(a) === b) return true;
  if (Object.keys(a).length !== Object.keys(b).length) return false;
  compared.set(a, b);
  if (a instanceof Set && b instanceof Set) return equalEntries(a, b, compared);
  if (a instanceof Map && b instanceof Map) return equalEntries(a, b, compared);
  if (STRING_COMPARABLE.has(prototype)) return String(a) === String(b);
  const isPlain = prototype === Object.prototype || prototype === Array.prototype;
  const keysOf = isPlain ? enumerableKeys : allKeys;
  for (const key of new Set([...keysOf(a), ...keysOf(b)])) {
    if ((key in a) !== (key in b)) return false;
    if (!equalWithin(Reflect.get(a, key), Reflect.get(b, key), compared)) return false;
  }
  return true;
}

/** Functions are equal only to themselves. */
function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function prototypeOf(value: object): object {
  return Object.getPrototypeOf(value) ?? Object.prototype;
}

function isBuffer(value: object): value is ArrayBuffer {
  return value instanceof ArrayBuffer || value instanceof SharedArrayBuffer;
}

function equalElements(a: ArrayLike<number | bigint>, b: ArrayLike<number | bigint>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i] && !Object.is(a[i], b[i])) return false;
  }
  return true;
}

/** Whether both are of one size and each entry of the first equals one of the second, in any order. */
function equalEntries<T>(
  a: ReadonlySet<T> | ReadonlyMap<T, unknown>,
  b: ReadonlySet<T> | ReadonlyMap<T, unknown>,
  compared: Map<object, object>,
): boolean {
  if (a.size !== b.size) return false;
  const others = [...b.entries()];
  return [...a.entries()].every(([key, value]) =>
    others.some(([otherKey, otherValue]) =>
      equalWithin(key, otherKey, compared) && equalWithin(value, otherValue, compared)
    )
  );
}

function enumerableKeys(value: object): PropertyKey[] {
  return Reflect.ownKeys(value).filter((key) =>
    Object.prototype.propertyIsEnumerable.call(value, key)
  );
}

/** Every key, those that a class gives to all its instances among them. */
function allKeys(value: object): PropertyKey[] {
  const keys: PropertyKey[] = [];
  let holder: object | null = value;
  while (holder !== null && holder !== Object.prototype && holder !== Array.prototype) {
    keys.push(...Reflect.ownKeys(holder));
    holder = Object.getPrototypeOf(holder);
  }
  return keys;
}

function temporalTypes(): StringComparable[] {
  const { Temporal = {} }: { Temporal?: Record<string, StringComparable> } = globalThis as object;
  const names = "Duration Instant PlainDate PlainDateTime PlainTime PlainYearMonth PlainMonthDay";
  return [...names.split(" "), "ZonedDateTime"].map((name) => Temporal[name]);
}
