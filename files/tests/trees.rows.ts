/** Rules for trees, each with trees that show it, in the form of `parseRows()`. */

import { parseRows } from "./trees/text_trees.ts";

export const rows = parseRows(`
time: a file of the same size and time is unchanged, as far as a disk can store it
  a@3000 b=B c@1999 d*101 e=f*@3000 f*@1999 >> a b c d e* f*
a file that differs only in its time gets the time, and isn't sent
  a*@3000 b >> a*
digest: a file of the same size and content is unchanged, whatever its time
  a@3000 b=B c*101 d*@3000 e=f* >> a b c d* e*, compare=digest

superfluous entries stay without delete
  a >> b
superfluous entries are deleted with delete
  a d/b >> a d/c d/e/f g/h/, delete
no entry is deleted if the source has only directories, or the filter excludes all of the rest
  >> a, delete
  c/ d/e/ >> a d/, delete
  c/b d/ >> a d/, delete hide=b
  b >> a, delete hide=b
deleteAll: an empty source deletes all entries that the filter doesn't exclude
  >> a b/c d/, delete deleteAll
  b >> a b=x c/b c/d, delete deleteAll hide=b
deleteAll: no entry is deleted after a failure
  a/b >> a b, delete deleteAll replace=false
no entry is deleted if a file failed
  b a/c >> a d, delete replace=false
an unmounted mount point with only reserved names counts as empty
  .degu-files/ .a.degu-part >> a d/b, delete

half: a source that lacks more than ten files of the target, and more than it has, deletes none
  s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 >> s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 o0 o1 o2 o3 o4 o5 o6 o7 o8 o9 o10, delete
  s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 new >> s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 o0 o1 o2 o3 o4 o5 o6 o7 o8 o9 o10, delete
  new >> o0 o1 o2 o3 o4 o5 o6 o7 o8 o9, delete
  s0 s1 s2 b/x0 b/x1 b/x2 b/x3 b/x4 b/x5 b/x6 b/x7 b/x8 >> s0 s1 s2 b/x0 b/x1 b/x2 b/x3 b/x4 b/x5 b/x6 b/x7 b/x8 o0 o1 o2 o3 o4 o5 o6 o7 o8 o9 o10, delete hide=b
  new >> o0 o1 o2 o3 o4 o5 o6 o7 o8 o9 o10, delete deleteAll
half: files of a directory that a file replaces count, and renamed files don't
  d >> d/o0 d/o1 d/o2 d/o3 d/o4 d/o5 d/o6 d/o7 d/o8 d/o9 d/o10 d/o11, delete
  b/o0 b/o1 b/o2 b/o3 b/o4 b/o5 b/o6 b/o7 b/o8 b/o9 b/o10 >> a/o0 a/o1 a/o2 a/o3 a/o4 a/o5 a/o6 a/o7 a/o8 a/o9 a/o10, delete
  b/o0 b/o1 b/o2 b/o3 b/o4 >> a/o0 a/o1 a/o2 a/o3 a/o4 c/o0 c/o1 c/o2 c/o3 c/o4 c/o5 c/o6 c/o7 c/o8 c/o9 c/o10, delete

files of every size get the time and the mode of their source
  a*0@1 b*4@2 c*4096@3 d*65535@4 e*65536@5 f*65537@6:600 g*1000000@7:755 >>, unix
new, replaced and compared files get the permission bits of the source that a new file may have
  a:400 b:777 c:700 d:666 e:440 f:4755 g*:400 h*:777 i*:700 j*:666 k*:440 l*:4755 m*0:700 >>, unix
  a:400 b:777 c:700 d:666 e:440 f:4755 g*:400 h*:777 i*:700 j*:666 k*:440 l*:4755 m*0:700 >> a*5:640 b*5:640 c*5:640 d*5:640 e*5:640 f*5:640 g:640 h:640 i:640 j:640 k:640 l:640 m:640, unix
  a:400 b:777 c:700 d:666 e:440 f:4755 g*:400 h*:777 i*:700 j*:666 k*:440 l*:4755 m*0:700 >> a:640 b:640 c:640 d:640 e:640 f:640 g*:640 h*:640 i*:640 j*:640 k*:640 l*:640 m*0:640, unix
  a/b:700 c/d*:600 e*:777 >> a/b:600 c e/f, delete unix
modes: false: a new file has the mode of other new files, and a replaced one keeps its own
  a:600 b:600 c*:600 d*:600 e:600 f:600@9000 >> a=old:640 c=old:640 e:640 f:640, modes=false unix
many kinds of differences at once
  a=new d/b e/f g h* i/ same >> a*5 d g/x g/y/z old/o e/p same, delete
a missing target is created
  >> , missing
  a d/ >> , missing
  a:600 b*:700 >> , missing unix
directories are created, also empty ones
  a/b/c/ d/e >>
excluded entries are ignored at both ends
  keep/a skip/b keep/c.tmp >> skip/z keep/d.tmp keep/e, delete hide=skip,c.tmp,d.tmp
  data/a old new >> data old/a new/a, delete hide=file:data,directory:old
replace: false: a different file fails alone, and an identical one is unchanged
  a=new b@2005 d/c e f*@2005 g=G@2005 >> a*5 b e* f* g, replace=false
  a=new b@2005 d/c e f*@2005 g=G@2005 >> a*5 b e* f* g, replace=false compare=digest

obstacles stay without delete, or with replace: false
  a b/c b/d/e f/g/ >> a/x a/y/z b f
  a* b/c* b/d/e* f/g/ >> a/x a/y/z b f
  a d/x >> a/y d old, delete replace=false
  a b >> a/y old, delete replace=false
obstacles are deleted with delete, and the next call copies the entries
  a b/c b/d/e f/g/ >> a/x a/y/z b f, delete
  a* b/c* b/d/e* f/g/ >> a/x a/y/z b f, delete
a directory in the way stays with the entries that must stay, and its other entries are deleted
  a b d/x >> a/y b/.z d, delete hide=.z
  a b >> a/b/c a/b/.z a/d/e b/.z b/w, delete hide=.z
  a b >> a/x a/link->/nowhere b/.z, delete hide=.z unix
an obstacle that the filter excludes stays, and prevents deletions
  data/a b >> data c, delete hide=file:data
an obstacle stays if another file has failed
  a/b c* d >> a d/e old, delete refuse=403:c
a link at the target stays, whatever it leads to, and doesn't prevent deletions elsewhere
  a b* d/c e/ f file >> a->../beside/neighbor b->../beside/neighbor d->../beside e->../beside f->file file old, unix
  a b* d/c e/ f file >> a->../beside/neighbor b->../beside/neighbor d->../beside e->../beside f->file file old, delete unix
  small=new large* same=other other >> small->other large->other same->other other, delete unix
links and special files of the target stay, with their directories
  a >> d/e/f d/g d/e/link->/nowhere out->/tmp fifo| to-a-file->d/g, delete unix
a target entry with the name of a source link stays
  a l->/nowhere >> l/x y, delete unix
links and special files are skipped, wherever they lead
  a d/x dir->d in->a out->/tmp none->nowhere d/up->.. fifo| >>, delete unix
reserved names are skipped, and never written
  .a.degu-part d/.degu-files/ d/b >>, delete

two spellings of a name are two files if the disk stores both
  A=1 a=2 D/x=3 d/x=4 \u00e9=5 e\u0301=6 >> f/F, delete unix
another spelling is deleted if the disk stores both
  p/a p/b >> P/a P/c, delete unix
  p/a >> p/a P/c, delete unix
  A->b b >> a b, delete unix

reuse: only the new bytes of a grown file are sent, also in the plan of a dry run
  a/log*70009@9000 >> a/log*, reuse
  new=old* log*70009@9000 >> old* log*, reuse
  log*65537@9000 >> log*65536, reuse
reuse: a renamed, moved or copied file is not sent, and an upload doesn't compare it first
  new=old* >> old*, reuse
  new=old* >> old*, reuse delete
  new/a=x* new/c=y* >> old/a=x* old/c=y*, reuse delete
  a* d/b=a* >> a*, reuse
  b=a*@9000 >> a*@9000 b*69999, reuse delete
reuse: two files that have swapped their names are copied correctly
  a=b*@1 b=a*@2 >> a*@2 b*@1, reuse
reuse: a copy with a reused prefix gets the permission bits of the source
  new=old*:700 log*70009@9000:600 >> old* log*, reuse unix
reuse: a time that the target's disk has rounded down is the same time
  new=old*@1999 >> old*, reuse delete
reuse: a file of another size or time, or that is newer, longer or below 64 KiB, is not compared
  a*@9000 b=B*70001 >> c=a* d=B*, reuse delete
  a* b*@9000 c*@9000 d*65535@9000 >> a*70001@9000 b*70001 c*65535 d*65534, reuse
reuse: a file with other content is compared once, and sent
  new* >> old*, reuse delete
  a*70009@9000 >> a=old*, reuse

move: each local file is removed after it is copied, and directories stay
  small d/small d/e/large* empty*0 d/f/ >> , move
move: an existing file is replaced, unless its content is the same, whatever its time
  a=new a2=new* b b2* c*0 d/e=new >> a a2* b@9000 b2*@9000 c d/e*, move
  a=new a2=new* b b2* c*0 d/e=new >> a a2* b@9000 b2*@9000 c d/e* d/index.html, move list=false
move: with replace: false, or if the server only adds files, only identical files are removed
  b b2* c@-1600000001000 c2*@-1600000001000 >> b@9000 b2*@9000 c@-1600000001000 c2*@-1600000001000, move replace=false
  b b2* c@-1600000001000 c2*@-1600000001000 >> b@9000 b2*@9000 c@-1600000001000 c2*@-1600000001000, move write=add
  a=new a2=new* b c=new*5 d@2005 >> a a2* b@9000 c d, move replace=false
  a=new a2=new* b c=new*5 d@2005 >> a a2* b@9000 c d, move write=add
move: entries that are not copied stay: excluded and reserved ones, and those with something in the way
  excluded skip/a bad/x bad2* .x.degu-part good >> bad/x/y bad2/y dir, move hide=excluded,skip
  bad/x/y bad2/y* good >> bad/x bad2, move
move: links and special files of the source stay, and those of the target are not replaced
  a l->a fifo| d/up->.. to* to2 >> to->a to2->/nowhere, move unix
move: an entry that is not copied, or of another kind, doesn't compete for a name in another case
  photos->a Photos/b >> Photos/, move unix
  photos Photos/b >> Photos/, move unix
  photos| Photos/b >> Photos/, move unix
  a.txt->b A.txt >> A.txt, move replace=false unix
move: a file that changes when the server has it is kept, and copied by the next call
  x x2* >> , move stored=append:x,append:x2
  x x2* >> , move stored=touch:x,touch:x2
  x x2* >> , move stored=replace:x,replace:x2
move: a file that becomes a directory, or is removed, when the server has it is not removed
  x x2* >> , move stored=directory:x,directory:x2
  x x2* >> , move stored=remove:x,remove:x2
move: a file that appears or changes at the target after its request was sent stays, until the next call
  x x2* >> , move sent=write:x,write:x2
  x x2* >> , move sent=write:x,write:x2 list=false
  x x2* >> x=old x2=old*, move sent=write:x,write:x2
  x x2* >> x=old x2=old*, move sent=write:x,write:x2 list=false
move: a file that appears or changes at the target before a retry stays, until the next call
  x >> , move cut=request retries=2 pause=write:x
  x* >> , move cut=request retries=2 pause=write:x
  x >> , move cut=response retries=2 pause=write:x
  x* >> , move cut=response retries=2 pause=write:x
  x >> , move cut=request retries=2 pause=write:x list=false
  x* >> , move cut=request retries=2 pause=write:x list=false
  x >> , move cut=response retries=2 pause=write:x list=false
  x* >> , move cut=response retries=2 pause=write:x list=false
  x >> x=old, move cut=request retries=2 pause=write:x
  x* >> x=old*, move cut=request retries=2 pause=write:x
  x >> x=old, move cut=response retries=2 pause=write:x
  x* >> x=old*, move cut=response retries=2 pause=write:x
  x >> x=old, move cut=request retries=2 pause=write:x list=false
  x* >> x=old*, move cut=request retries=2 pause=write:x list=false
  x >> x=old, move cut=response retries=2 pause=write:x list=false
  x* >> x=old*, move cut=response retries=2 pause=write:x list=false
move: a file whose response is lost is removed by the same call, or by the next one
  x >> , move lost=response
  x* >> , move lost=response
  x >> , move lost=response list=false
  x* >> , move lost=response list=false
  x >> , move lost=response write=add
  x* >> , move lost=response write=add
  x >> , move cut=response
  x* >> , move cut=response

a request that the network delays doesn't change a file that was written after the request was sent
  f >> , late
  f >> f=old*5, late
  f* >> , late
  f* >> f=old*5, late
  f >> , move late
  f >> f=old*5, move late
  f* >> , move late
  f* >> f=old*5, move late
  a >> a f=old, delete late

a refused file fails alone, and prevents deletions, unless the status concerns all files
  a b* c* >> b=old*5 old, delete refuse=403:b
  a b* c* >> b=old*5 old, delete refuse=404:b
  a b* c* >> b=old*5 old, delete refuse=499:b
  a b* c* >> b=old*5 old, delete refuse=507:b
  a b* c* >> b=old*5 old, delete refuse=500:b
  a b* c* >> b=old*5 old, delete refuse=401:b
  a b* c* >> b=old*5 old, delete refuse=405:b
move: a file that the server refuses after it was sent is kept
  x x2* >> x2=old*, move refuse=413:x2
  x >> x=old*5, move refuse=413
an invalid list rejects the whole call, and changes no file
  a b* d/c >> a=kept b/kept old, delete lies=tree
records of other files than requested reject the whole call, and change no other file
  a b* >> b/kept old, delete lies=bundle:get
`);

/** Rows with entries that this user must not be able to read, search or write. */
export const unreadableRows = parseRows(`
an unreadable source entry fails, and prevents deletions
  a secret:200 closed/:300 closed/x unsearched/:600 unsearched/y >> old closed/z, delete
an unreadable target entry stays, with its directory
  a >> d/secret:200 d/old closed/:300 closed/x old, delete
  a d/b >> a:200 d/:0, delete
  a >> a/closed/:300, delete
an entry in a directory that can't be written to is not deleted, and one in the way keeps its name
  a >> a/closed/:500 a/closed/x, delete
  a >> d/:500 d/x e/:500, delete
an empty directory that can't be written to is deleted, also in the way
  a >> a/closed/:500 a/x, delete
move: a file in a directory that can't be written to fails, and is not sent
  d/:500 d/a d/b* c >> d/x, move
`);
