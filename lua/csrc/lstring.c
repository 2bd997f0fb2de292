/*
** $Id: lstring.c,v 2.8.1.1 2007/12/27 13:02:25 roberto Exp $
** String table (keeps all strings handled by Lua)
** See Copyright Notice in lua.h
*/


#include <string.h>
#include <stdint.h>

#define lstring_c
#define LUA_CORE

#include "lua.h"

#include "lmem.h"
#include "lobject.h"
#include "lstate.h"
#include "lstring.h"



void luaS_resize (lua_State *L, int newsize) {
  GCObject **newhash;
  stringtable *tb;
  int i;
  if (G(L)->gcstate == GCSsweepstring)
    return;  /* cannot resize during GC traverse */
  newhash = luaM_newvector(L, newsize, GCObject *);
  tb = &G(L)->strt;
  for (i=0; i<newsize; i++) newhash[i] = NULL;
  /* rehash */
  for (i=0; i<tb->size; i++) {
    GCObject *p = tb->hash[i];
    while (p) {  /* for each node in the list */
      GCObject *next = p->gch.next;  /* save next */
      unsigned int h = gco2ts(p)->seeded;
      int h1 = lmod(h, newsize);  /* new position */
      lua_assert(cast_int(h%newsize) == lmod(h, newsize));
      p->gch.next = newhash[h1];  /* chain it */
      newhash[h1] = p;
      p = next;
    }
  }
  luaM_freearray(L, tb->hash, tb->size, TString *);
  tb->size = newsize;
  tb->hash = newhash;
}


/*
** varve: two hashes. `luaS_seeded' places a string among all strings: of all
** its bytes, quick, and nobody who does not know the seed can make strings that
** collide. `plainhash' places it in tables, so it decides in which order `next'
** goes through them, and that should be the same everywhere. Stock Lua samples
** 32 bytes; this takes all, of long strings by way of the quick hash.
*/
#define PLAIN_MAX	128

static uint64_t read64 (const char *p) {
  uint64_t v;
  memcpy(&v, p, sizeof(v));
  return v;
}


static uint64_t mix64 (uint64_t a, uint64_t b) {
#if defined(__SIZEOF_INT128__)
  unsigned __int128 r = (unsigned __int128)a * b;
  return (uint64_t)r ^ (uint64_t)(r >> 64);
#else
  uint64_t high = (a >> 32) * (b | 1), low = (a & 0xffffffffu) * (b | 1);
  high ^= high >> 29; low ^= low >> 31;
  return (high + ((low << 32) | (low >> 32))) * 0x9e3779b97f4a7c15ull ^ b;
#endif
}


static unsigned int fullhash (const char *str, size_t l, uint64_t s0,
                                                         uint64_t s1) {
  uint64_t h = s0 ^ l, a = 0, b = 0;
  if (l >= 16) {
    const char *last = str + (l - 16);
    for (; str < last; str += 16)
      h = mix64(read64(str) ^ s1, read64(str + 8) ^ h);
    a = read64(last);
    b = read64(last + 8);
  }
  else if (l >= 8) {
    a = read64(str);
    b = read64(str + (l - 8));
  }
  else {
    size_t i;
    for (i = 0; i < l; i++)
      a = (a << 8) | cast(unsigned char, str[i]);
  }
  h = mix64(a ^ s1, b ^ h);
  h = mix64(h ^ s0, s1 | 1);
  return cast(unsigned int, h ^ (h >> 32));
}


static unsigned int plainhash (const char *str, size_t l) {
  if (l <= PLAIN_MAX) {
    unsigned int h = cast(unsigned int, l);  /* seed */
    size_t l1;
    for (l1=l; l1>=1; l1--)  /* compute hash */
      h = h ^ ((h<<5)+(h>>2)+cast(unsigned char, str[l1-1]));
    return h;
  }
  return fullhash(str, l, 0x243f6a8885a308d3ull, 0x13198a2e03707344ull);
}


static TString *newlstr (lua_State *L, const char *str, size_t l,
                                       unsigned int h) {
  TString *ts;
  stringtable *tb;
  if (l+1 > (MAX_SIZET - sizeof(TString))/sizeof(char))
    luaM_toobig(L);
  ts = cast(TString *, luaM_malloc(L, (l+1)*sizeof(char)+sizeof(TString)));
  ts->tsv.len = l;
  ts->tsv.hash = plainhash(str, l);
  ts->tsv.seeded = h;
  ts->tsv.marked = luaC_white(G(L));
  ts->tsv.tt = LUA_TSTRING;
  ts->tsv.reserved = 0;
  memcpy(ts+1, str, l*sizeof(char));
  ((char *)(ts+1))[l] = '\0';  /* ending 0 */
  tb = &G(L)->strt;
  h = lmod(h, tb->size);
  ts->tsv.next = tb->hash[h];  /* chain new entry */
  tb->hash[h] = obj2gco(ts);
  tb->nuse++;
  if (tb->nuse > cast(lu_int32, tb->size) && tb->size <= MAX_INT/2)
    luaS_resize(L, tb->size*2);  /* too crowded */
  return ts;
}


TString *luaS_newlstr (lua_State *L, const char *str, size_t l) {
  GCObject *o;
  unsigned int h = fullhash(str, l, G(L)->seed[0], G(L)->seed[1]);
  if (l >= 64) luaE_charge(L, l >> 5);
  for (o = G(L)->strt.hash[lmod(h, G(L)->strt.size)];
       o != NULL;
       o = o->gch.next) {
    TString *ts = rawgco2ts(o);
    if (ts->tsv.seeded == h && ts->tsv.len == l &&
        (memcmp(str, getstr(ts), l) == 0)) {
      /* string may be dead */
      if (isdead(G(L), o)) changewhite(o);
      return ts;
    }
  }
  return newlstr(L, str, l, h);  /* not found */
}


Udata *luaS_newudata (lua_State *L, size_t s, Table *e) {
  Udata *u;
  if (s > MAX_SIZET - sizeof(Udata))
    luaM_toobig(L);
  u = cast(Udata *, luaM_malloc(L, s + sizeof(Udata)));
  u->uv.marked = luaC_white(G(L));  /* is not finalized */
  u->uv.tt = LUA_TUSERDATA;
  u->uv.len = s;
  u->uv.metatable = NULL;
  u->uv.env = e;
  /* chain it on udata list (after main thread) */
  u->uv.next = G(L)->mainthread->next;
  G(L)->mainthread->next = obj2gco(u);
  return u;
}

