/* gcc's unwinder, as Debian builds it, asks glibc where the frames of a place in the code are described
   (_dl_find_object, glibc 2.35). musl does not have that function; this answers from the program's own headers. */
#define _GNU_SOURCE
#include <elf.h>
#include <link.h>

/* glibc's struct dl_find_object on x86_64. */
struct found {
    unsigned long long flags;
    void *start, *end;
    struct link_map *map;
    void *eh_frame;
    unsigned long long reserved[7];
};

struct question {
    ElfW(Addr) place;
    struct found *found;
};

static int look(struct dl_phdr_info *object, size_t size, void *asked) {
    struct question *question = asked;
    ElfW(Addr) start = 0, end = 0, frames = 0;
    (void)size;
    for (int at = 0; at < object->dlpi_phnum; at++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[at];
        ElfW(Addr) begin = object->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && begin <= question->place && question->place < begin + part->p_memsz) {
            start = begin;
            end = begin + part->p_memsz;
        }
        if (part->p_type == PT_GNU_EH_FRAME)
            frames = begin;
    }
    if (!start || !frames)
        return 0;
    question->found->flags = 0;
    question->found->start = (void *)start;
    question->found->end = (void *)end;
    question->found->map = 0;
    question->found->eh_frame = (void *)frames;
    return 1;
}

int _dl_find_object(void *place, struct found *found) {
    struct question question = {(ElfW(Addr))place, found};
    return dl_iterate_phdr(look, &question) ? 0 : -1;
}
