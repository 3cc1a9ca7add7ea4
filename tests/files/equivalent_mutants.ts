/** Changes of files/ that no test can detect, for `deno task mutate`: see tools/mutants.ts. */

import type { EquivalentMutants } from "../../tools/mutants.ts";

export const EQUIVALENT_MUTANTS: EquivalentMutants = {
  "files/aside.ts": {
    "keepForGood": [
      ["0, 0", "1, 0", "any time long ago"],
      ["0, 0", "0, 1", "a second after 1970 is long ago as well"],
    ],
    "putBackOrRemove": [
      ["mtime?.getTime() ?? 0", "mtime?.getTime() ?? 1", "each directory has a time"],
    ],
  },
  "files/bundle.ts": {
    "PIECE_BYTES": [
      ["262144", "262145", "a byte more at once"],
    ],
    "BundleBuffer.#bytes": [
      ["2 * MAX_LINE_BYTES", "3 * MAX_LINE_BYTES", "it is the size of a buffer"],
    ],
    "BundleBuffer.isFull": [
      [">=", ">", "a byte more at once"],
    ],
    "Held.add": [
      ["length > this.#buffer.length", "true", "it gets a larger buffer sooner"],
      [
        "length > this.#buffer.length",
        "length >= this.#buffer.length",
        "it gets a larger buffer sooner",
      ],
      ["length * 2", "length * 3", "it is the size of a buffer"],
    ],
    "Held.take": [
      ["this.length === 0", "false", "a copy is the same"],
    ],
  },
  "files/digest.ts": {
    "KnownDigests.findOrCompute": [
      ["known !== null", "false", "it is hashed once more"],
    ],
  },
  "files/download.ts": {
    "Download.#claimSpace": [
      ["this.#claim?.left === total - start", "false", "the same space is claimed once more"],
    ],
    "SLACK_BYTES": [
      ["65536", "65537", "a byte more or less than what a file may have grown"],
    ],
    "Download.#begin": [
      [
        "total > (this.#inTree?.size ?? Infinity) + SLACK_BYTES",
        "total >= (this.#inTree?.size ?? Infinity) + SLACK_BYTES",
        "a byte more or less than what a file may have grown",
      ],
    ],
  },
  "files/download_tree.ts": {
    "Download.readTarget": [
      [
        "path.endsWith(PART_SUFFIX)",
        "true",
        "nothing else has the name of a part that is looked for",
      ],
    ],
    "Download.#newPart": [
      ["this.#parts.size === 0", "false", "no part has the name"],
    ],
    "Download.#spaceAt": [
      ["space !== undefined", "false", "it is found once more, by its device"],
    ],
    "Download.#newModeIn": [
      ["this.#newMode === undefined", "true", "it is found out once more"],
    ],
    "Download.#pause": [
      ["!this.#turns.isOver", "false", "a turn more"],
    ],
  },
  "files/entries.ts": {
    "parseTime": [
      ['typeof text !== "string"', "false", "no other value of JSON is equal to such a text"],
    ],
  },
  "files/file_name.ts": {
    "escapeName": [
      ["PLAIN.test(name)", "false", "the long way leads there, too"],
    ],
    "problemOf": [
      ["3 > MAX_NAME_BYTES", "3 >= MAX_NAME_BYTES", "the bytes of more names are counted"],
      ["length * 3", "length * 4", "the bytes of more names are counted"],
    ],
  },
  "files/file_pieces.ts": {
    "fileVersion": [
      ["16", "17", "other digits tell versions apart as well"],
    ],
    "PIECE_BYTES": [
      ["2097152", "2097153", "it is the size of a buffer"],
    ],
    "SERVED_BYTES": [
      ["524288", "524289", "it is the size of a buffer"],
    ],
    "readPieces": [
      ["isLocal ? PIECE_BYTES", "false ? PIECE_BYTES", "it is the size of a buffer"],
      ["other.length === 0 && position < stop", "true", "a new buffer, also where none is needed"],
      ["&&", "||", "a new buffer, also where none is needed"],
      [
        "other.length === 0 && position < stop",
        "other.length === 0 && position <= stop",
        "a new buffer, also where none is needed",
      ],
      ["if (position < stop) {", "if (true) {", "at the end nothing is read"],
      ["if (position < stop) {", "if (position <= stop) {", "at the end nothing is read"],
    ],
  },
  "files/file_writer.ts": {
    "BUFFER_BYTES": [
      ["524288", "524289", "it is the size of a buffer"],
    ],
    "CHUNKED_BYTES": [
      ["262144", "262145", "it is the size of a buffer"],
    ],
  },
  "files/files_app.ts": {
    "realPathOf": [
      ["error instanceof Error", "true", "whatever a function of Deno throws is one"],
    ],
  },
  "files/get.ts": {
    "makeFileBody": [
      [
        "stop - start > SMALL_BYTES",
        "stop + start > SMALL_BYTES",
        "a small part is read as a large one is",
      ],
    ],
  },
  "files/get_bundle.ts": {
    "BundleReader.#readGroup": [
      ["||", "&&", "what this refuses early is refused below"],
      ["this.#turns.isOver", "true", "each file is a group"],
    ],
  },
  "files/lanes.ts": {
    "Lanes.run": [
      ["i % 2 === 0", "true", "all are done, in whatever order"],
      ["i % 2 === 0", "false", "all are done, in whatever order"],
      ["===", "!==", "all are done, in whatever order"],
      ["i % 2", "i * 2", "all are done, in whatever order"],
      ["i % 2", "i % 3", "all are done, in whatever order"],
      ["i % 2 === 0", "i % 2 === 1", "all are done, in whatever order"],
    ],
  },
  "files/part_file.ts": {
    "renamePart": [
      ["mode !== null", "true", "all files have one where this is tested"],
    ],
    "partPath": [
      ["<=", "<", "another name, which nothing has either"],
    ],
  },
  "files/listing.ts": {
    "MAX_LOOKUPS": [
      ["10", "11", "a lookup more"],
    ],
    "describe": [
      [
        "if (isDoubtful) doubtful",
        "if (true) doubtful",
        "only doubtful names are looked for there",
      ],
    ],
    "chunksOf": [
      ["text.length < CHUNK_CHARACTERS", "false", "more and smaller chunks"],
    ],
    "readPlace": [
      ["reading > 1", "true", "the directory is looked at once more"],
      ["lookups = 1", "lookups = 2", "an attempt fewer"],
    ],
  },
  "files/reading.ts": {
    "findLinkedFile": [
      ["look = 0", "look = 1", "an attempt fewer"],
      ["look < MAX_OPENINGS", "look <= MAX_OPENINGS", "an attempt more"],
    ],
  },
  "files/put_bundle.ts": {
    "BundleWriter.check": [
      ["201", "202", "each file gets another status before any is sent"],
    ],
  },
  "files/replace_directory.ts": {
    "SeenDirectory.read": [
      ["turns.isOver", "true", "a turn more"],
    ],
    "look": [
      ["replaceable.directory === null", "false", "it is looked for once more"],
    ],
  },
  "files/route.ts": {
    "Route.discard": [
      [">=", ">", "that the server has closed it shows with the next request"],
      ["400", "401", "that the server has closed it shows with the next request"],
    ],
  },
  "files/small_files.ts": {
    "BATCH": [
      ["64", "65", "one more"],
    ],
    "SmallFiles.#write": [
      [
        "this.#prepared !== key || this.#turns.isOver",
        "true",
        "the directory is looked at once more",
      ],
    ],
    "SmallFiles.#nameBatch": [
      ["!isAdmitted || this.#turns.isOver", "true", "a turn for each file"],
      [
        "if (isAdmitted) await this.#turns.next(this.#placement.root.path);",
        "if (true) await this.#turns.next(this.#placement.root.path);",
        "one turn more before the first file",
      ],
      [
        "this.#entered !== null && this.#entered.parent.missing.length > 0",
        "true",
        "the directory is looked at once more",
      ],
      ["&&", "||", "the directory is looked at once more"],
      [
        "this.#entered.parent.missing.length > 0",
        "this.#entered.parent.missing.length >= 0",
        "the directory is looked at once more",
      ],
    ],
    "SmallFiles.#name": [
      ["this.#entered?.key !== key", "true", "the directory is looked at once more"],
    ],
  },
  "files/tree_plan.ts": {
    "Plan.#decideContent": [
      ["node.size === 0", "false", "the digests of nothing are the same"],
    ],
  },
  "files/tree_names.ts": {
    "doubtfulIn": [
      ['else if (node.kind === "directory")', "else if (true)", "nothing is in a file"],
    ],
  },
  "files/tree_requests.ts": {
    "compareContents": [
      ["ours === null", "false", "a request more: no digest is equal to none"],
    ],
    "digestHere": [
      ["Deno.lstatSync(path).size < BUNDLED_BELOW_BYTES", "false", "it is read in pieces"],
      [
        "Deno.lstatSync(path).size < BUNDLED_BELOW_BYTES",
        "Deno.lstatSync(path).size <= BUNDLED_BELOW_BYTES",
        "it is read in pieces, or at once",
      ],
    ],
  },
  "files/tree_transfer.ts": {
    "BATCH_BYTES": [
      ["4_194_304", "4194305", "a byte more"],
    ],
    "isTaken": [
      ["!(error instanceof TransferError)", "false", "no other error has a status or such a cause"],
    ],
  },
  "files/unfinished.ts": {
    "UnfinishedFiles.makeDirectory": [
      ["mode: 0o700", "mode: 449", "it gets the right one below"],
      ["(state.mode & 0o077n) === 0n", "false", "it gets what it has"],
    ],
  },
  "files/upload.ts": {
    "QUICKLY_HASHED_BYTES": [
      ["1048576", "1048577", "a byte more"],
    ],
    "FileUpload.#releaseFor": [
      ["bytes > QUICKLY_HASHED_BYTES", "bytes >= QUICKLY_HASHED_BYTES", "a byte less"],
    ],
    "FileUpload.#confirm": [
      ["modified === null || !replace", "false", "a request more, which changes nothing"],
      ["||", "&&", "a request more, which changes nothing"],
    ],
    "SourceFile.hash": [
      ["this.#sha256 !== null", "false", "it is read once more"],
    ],
  },
  "files/upload_tree.ts": {
    "Upload.#chunksOf": [
      ["buffer.isFull", "true", "more and smaller chunks"],
    ],
    "Upload.copyAlone": [
      ["if (move)", "if (true)", "what is noted is asked for only when files are moved"],
    ],
    "Upload.#read": [
      ["!info.isFile", "false", "what is opened is no file either, and the error says less"],
      ["attempt < 2", "attempt <= 2", "a file that changes all the time is read once more"],
    ],
    "Upload.removeSources": [
      ["this.#turns.isOver", "true", "a turn more"],
      ["this.#turns.isOver", "false", "a longer turn"],
    ],
  },
};
