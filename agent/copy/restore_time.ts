/** This module imports no module of the library, so that a wrong time is refused at once. */

import { InvalidArgumentError } from "commander";

const TIME_PATTERN =
  /^(\d{4})-(\d\d)-(\d\d)[T ](\d\d)(?::(\d\d)(?::[0-5]\d(?:\.\d+)?)?)? ?(Z|[+-]\d\d:\d\d)?$/;

/** The name of a directory of earlier versions. */
export const PERIOD_PATTERN = /^\d{4}-\d\d-\d\dT\d\d_\d+$/;

const EXAMPLE = "2026-01-31T14:00";

/**
 * Parses a local day and hour, as `2026-01-31T14` or `2026-01-31T14:00`, which a zone may follow,
 * as `+01:00`; or the name of a directory in `.degu-kept`, as `2026-01-31T14_5`.
 */
export function parseRestoreTime(text: string): Date | string {
  if (PERIOD_PATTERN.test(text)) return text;
  const fail = (problem: string) =>
    new InvalidArgumentError(`${problem}; got ${JSON.stringify(text)}`);
  const [, year, month, day, hour, minute = "00", zone] = TIME_PATTERN.exec(text) ?? [];
  const formProblem =
    `must be a day and an hour, as in ${EXAMPLE}, or the name of a period in .degu-kept`;
  if (year === undefined) throw fail(formProblem);
  const fields = [year, month, day, hour, minute].map(Number);
  const [y, m, d, h, min] = fields as [number, number, number, number, number];
  const time = zone === undefined
    ? new Date(y, m - 1, d, h, min)
    : new Date(`${year}-${month}-${day}T${hour}:${minute}${zone}`);
  if (Number.isNaN(time.getTime())) throw fail(formProblem);
  const isSame = zone !== undefined ||
    formatLocalTime(time) === `${year}-${month}-${day}T${hour}:${minute}`;
  // A local time that summer time skips, or the day 31 of a month that has 30.
  if (!isSame) throw fail("this local time doesn't exist");
  if (time.getMinutes() > 0) throw fail(`must be a full hour, as in ${EXAMPLE}`);
  if (time.getTime() > Date.now()) throw fail("must not be in the future");
  return time;
}

/** Formats a local time with its zone, so that it can be copied behind `--at`. */
export function formatRestoreTime(time: Date): string {
  const offset = -time.getTimezoneOffset();
  const minutes = Math.abs(offset);
  const sign = offset < 0 ? "-" : "+";
  return `${formatLocalTime(time)}${sign}${twoDigits(Math.floor(minutes / 60))}:${
    twoDigits(minutes % 60)
  }`;
}

function formatLocalTime(time: Date): string {
  const day = [time.getMonth() + 1, time.getDate()].map(twoDigits).join("-");
  const clock = [time.getHours(), time.getMinutes()].map(twoDigits).join(":");
  return `${`${time.getFullYear()}`.padStart(4, "0")}-${day}T${clock}`;
}

function twoDigits(value: number): string {
  return `${value}`.padStart(2, "0");
}
