/* A library to preload: counts the calls of malloc and its like by the name of the calling thread, in the file that ALLOCATIONS_FILE names. The file is a table of
 * `struct thread`, mapped and so never written at an end: Go's programs end without running any code of C. Frees are not counted: what steadily allocates,
 * frees. A realloc counts, whether it moves or not. */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { MAX_NAMES = 256, NAME = 16 };

struct thread {
    char name[NAME];
    _Atomic uint64_t calls;
};

static struct thread *threads; /* NULL before the file is mapped: what starting costs is not asked for */
static atomic_int names;
static atomic_flag adding = ATOMIC_FLAG_INIT;

__attribute__((constructor)) static void map_file(void)
{
    const char *path = getenv("ALLOCATIONS_FILE");
    size_t size = MAX_NAMES * sizeof(struct thread);
    int file = path != NULL ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;
    if (file < 0 || ftruncate(file, (off_t)size) != 0)
        return;
    void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        threads = mapped;
}

static int place(const char *name)
{
    int known = atomic_load_explicit(&names, memory_order_acquire);
    for (int i = 0; i < known; i++)
        if (strcmp(threads[i].name, name) == 0)
            return i;
    while (atomic_flag_test_and_set_explicit(&adding, memory_order_acquire))
        continue;
    int at = 0, count = atomic_load(&names);
    while (at < count && strcmp(threads[at].name, name) != 0)
        at++;
    if (at == count && count < MAX_NAMES) {
        memcpy(threads[at].name, name, NAME);
        atomic_store_explicit(&names, count + 1, memory_order_release);
    }
    atomic_flag_clear_explicit(&adding, memory_order_release);
    return at < MAX_NAMES ? at : MAX_NAMES - 1;
}

/* The name is asked for each time: threads get theirs when they have allocated already. Nobody times such a run. */
static void count(void)
{
    if (threads == NULL)
        return;
    char name[NAME] = "";
    prctl(PR_GET_NAME, name, 0, 0, 0);
    atomic_fetch_add_explicit(&threads[place(name)].calls, 1, memory_order_relaxed);
}

/* dlsym itself allocates before it has found calloc: from here. */
static char early[4096];
static size_t early_used;

static void *find(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

#define REAL(name, ...)                                                                                                                                           \
    static __typeof__(name) *real;                                                                                                                                \
    if (real == NULL)                                                                                                                                             \
        *(void **)&real = find(#name);                                                                                                                            \
    count();                                                                                                                                                      \
    return real(__VA_ARGS__)

void *malloc(size_t size) { REAL(malloc, size); }
void *realloc(void *old, size_t size) { REAL(realloc, old, size); }
void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size) { REAL(memalign, alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { REAL(aligned_alloc, alignment, size); }
int posix_memalign(void **out, size_t alignment, size_t size) { REAL(posix_memalign, out, alignment, size); }

void *calloc(size_t number, size_t size)
{
    static void *(*real)(size_t, size_t);
    static _Thread_local int finding;
    if (real == NULL) {
        if (finding) {
            size_t wanted = (number * size + 15) / 16 * 16;
            if (early_used + wanted > sizeof early)
                return NULL;
            early_used += wanted;
            return early + early_used - wanted;
        }
        finding = 1;
        *(void **)&real = find("calloc");
        finding = 0;
    }
    count();
    return real(number, size);
}

void free(void *memory)
{
    static void (*real)(void *);
    if (memory >= (void *)early && memory < (void *)(early + sizeof early))
        return;
    if (real == NULL)
        *(void **)&real = find("free");
    real(memory);
}
