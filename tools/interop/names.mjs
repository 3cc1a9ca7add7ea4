/**
 * Puts, gets and lists files with Node: names.mjs encodeURIComponent|URL URL FILE. The file has a
 * name in each line. Prints the statuses and the text of each file, and then the list of the
 * directory.
 */
import { readFileSync } from "node:fs";
import { argv } from "node:process";

const [, , escaping, directory, namesFile] = argv;

function makeUrl(name) {
  if (escaping === "encodeURIComponent") return directory + encodeURIComponent(name);
  // A URL escapes all characters but those with a meaning in a URL.
  return new URL(`./${name.replace(/[%?#\\]/g, encodeURIComponent)}`, directory);
}

for (const name of readFileSync(namesFile, "utf8").split("\n")) {
  const { status } = await fetch(makeUrl(name), { method: "PUT", body: `=${name}` });
  const response = await fetch(makeUrl(name));
  console.log(status, response.status, await response.text());
}
console.log(await (await fetch(directory)).text());
