/** Stands in for `@std/testing/types` if JSR is unreachable. */

/** `true` where two types are the same. */
export type IsExact<T, U> = (<X>() => X extends T ? 1 : 2) extends (<X>() => X extends U ? 1 : 2)
  ? true
  : false;
