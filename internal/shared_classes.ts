/** The symbol is registered, so that classes of other packages can have the same property. */
export const SHARED_NAME: unique symbol = Symbol.for("degu.sharedName");

type Class = (abstract new (...args: never[]) => object) & { readonly [SHARED_NAME]?: unknown };

/**
 * Makes `instanceof` true also for instances of the same classes of another copy of this package,
 * as a program has if a dependency imports another version. The static property `SHARED_NAME`
 * identifies a class in all copies. A subclass without a name of its own has only its own
 * instances.
 */
export function shareClasses(classes: Readonly<Record<string, Class>>): void {
  for (const [name, sharedClass] of Object.entries(classes)) {
    Object.defineProperty(sharedClass, SHARED_NAME, { value: `degu.${name}`, writable: true });
    // Subclasses inherit the method.
    Object.defineProperty(sharedClass, Symbol.hasInstance, { value: hasInstance });
  }
}

const hasOwnInstance: (this: Class, value: unknown) => boolean =
  Function.prototype[Symbol.hasInstance];

function hasInstance(this: Class, value: unknown): boolean {
  if (hasOwnInstance.call(this, value)) return true;
  if (!Object.hasOwn(this, SHARED_NAME)) return false;
  const name = this[SHARED_NAME];
  try {
    let classOfValue: unknown = (value as object | null | undefined)?.constructor;
    while (typeof classOfValue === "function") {
      const { [SHARED_NAME]: nameOfClass } = classOfValue as Class;
      if (nameOfClass === undefined) return false;
      if (nameOfClass === name && Object.hasOwn(classOfValue, SHARED_NAME)) return true;
      classOfValue = Object.getPrototypeOf(classOfValue);
    }
  } catch {
    // A thrown value can be a proxy that throws.
  }
  return false;
}
