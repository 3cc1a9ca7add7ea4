/** PUT and DELETE. */

import type { ResponseTuple } from "../../../base/app/message.ts";
import { syncAllIfPossible } from "../../disk/names.ts";
import { notFound, Refusal, refusalOf, unreadable } from "../refusal.ts";
import { checkAdmission, type FileRequest, writtenAnswer } from "./file_request.ts";
import { conditionOf, preconditionOf, readPut } from "./put_request.ts";
import { giveMode, receiveRest, receiveWhole } from "./receive.ts";

/** Writes a file, or creates a directory, whose path has a trailing slash, with an empty body. */
export async function put(write: FileRequest): Promise<ResponseTuple> {
  const asked = readPut(write);
  switch (asked.kind) {
    case "directory":
      return await putDirectory(write);
    case "mode":
      return await putMode(write, asked.length, asked.mode);
    case "whole":
      return await receiveWhole(write, asked);
    case "rest":
      return await receiveRest(write, asked);
  }
}

async function putDirectory(write: FileRequest): Promise<ResponseTuple> {
  const { root, target } = write;
  await checkAdmission(write.session);
  const { created, changed } = root.makeDirectory(target.names, conditionOf(write));
  await syncAllIfPossible(changed);
  return writtenAnswer(created, {});
}

/** Gives a file that is here the permission bits in the request, and nothing else. */
async function putMode(
  write: FileRequest,
  length: number,
  mode: number | null,
): Promise<ResponseTuple> {
  await checkAdmission(write.session);
  const { path, existing } = write.root.findFile(write.target.names);
  preconditionOf(write.request.headers)(existing);
  if (existing === null) throw notFound();
  if (Number(existing.size) !== length) throw new Refusal(412, `${path} has another length`);
  if (!write.isAddOnly) giveMode(write, path, mode);
  return writtenAnswer(false, {});
}

export async function remove(write: FileRequest): Promise<ResponseTuple> {
  const { root, target, report } = write;
  await checkAdmission(write.session);
  const { isDirectory, names } = target;
  const removing = root.remove(names, isDirectory, conditionOf(write));
  const { wasFile, changed } = await removing.catch((error) => {
    // An error of the disk, as of a damaged sector, refuses this name alone.
    throw refusalOf(error) ?? unreadable(error);
  });
  await syncAllIfPossible([changed]);
  if (wasFile) report("delete", names, 0, true, 204);
  return [204, "No Content", {}, null];
}
