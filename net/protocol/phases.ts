/**
 * Tables of phases: for each phase, the phase that follows each event that may occur in it. Any
 * other event is a bug of this package.
 */

export type Transitions<Name extends string, Event extends string> = Readonly<
  Record<Name, Readonly<Partial<Record<Event, Name>>>>
>;

/** A phase, with a link to the phase that follows each event; `null` if the event can't occur. */
export type Phase<Name extends string, Event extends string> =
  & { readonly name: Name }
  & { readonly [_ in Event]: Phase<Name, Event> | null };

/**
 * Links the phases of a table. Following a link takes 3 ns, and looking up two names 30 ns; for
 * this, all phases have the same properties.
 */
export function linkPhases<Name extends string, Event extends string>(
  transitions: Transitions<Name, Event>,
): Readonly<Record<Name, Phase<Name, Event>>> {
  const rows = Object.entries(transitions) as [Name, Partial<Record<Event, Name>>][];
  const events = new Set(rows.flatMap(([, row]) => Object.keys(row)));
  const noLinks = Object.fromEntries([...events].map((event) => [event, null]));
  const phases = Object.fromEntries(rows.map(([name]) => [name, { name, ...noLinks }]));
  for (const [name, row] of rows) {
    for (const [event, next] of Object.entries(row)) {
      phases[name] = Object.assign(phases[name]!, { [event]: phases[next as Name] });
    }
  }
  return phases as Readonly<Record<Name, Phase<Name, Event>>>;
}

/** Throws the error of an event that can't occur. */
export function refuseEvent(event: string, { name }: { readonly name: string }): never {
  throw invalidTransitionError(event, name);
}

export function invalidTransitionError(event: string, phase: string): Error {
  return new Error(
    `a bug of Degu, please report it: the event "${event}" is not allowed for a connection in the ` +
      `state "${phase}"`,
  );
}
