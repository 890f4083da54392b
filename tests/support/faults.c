/* Writes and syncs that fail when the test says so; to be preloaded.

   Counted are those of one store: its file, log, journal, index and lock, and its
   directory. What is to fail, and what was seen, stands in memory shared with the test:
   `struct plan`, which faults.py knows too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITES, SYNCS, KINDS };

struct plan {
    uint32_t seen[KINDS];
    uint32_t from[KINDS]; /* the first that fails; counted from 1, 0 = none does */
    uint32_t upto[KINDS]; /* the last */
    uint32_t failed;
    uint32_t error;
};

static struct plan *plan;
static char store[4096], directory[4096];

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULTS_PLAN"), *which = getenv("FAULTS_STORE");
    int fd;

    if (path == NULL || which == NULL || (fd = open(path, O_RDWR | O_CLOEXEC)) < 0)
        return;
    snprintf(store, sizeof store, "%s", which);
    snprintf(directory, sizeof directory, "%s", which);
    *strrchr(directory, '/') = '\0';
    plan = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (plan == MAP_FAILED)
        abort();
    close(fd);
}

static int is_counted(int fd)
{
    char link[64], path[4096];
    ssize_t length;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = '\0';
    return strncmp(path, store, strlen(store)) == 0 || strcmp(path, directory) == 0;
}

static int fails(int kind, int fd)
{
    uint32_t number;

    if (plan == NULL || !is_counted(fd))
        return 0;
    number = __sync_add_and_fetch(&plan->seen[kind], 1);
    if (plan->from[kind] == 0 || number < plan->from[kind] || number > plan->upto[kind])
        return 0;
    __sync_add_and_fetch(&plan->failed, 1);
    errno = (int)plan->error;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A disk that is full takes what still fits. */
#define WRITE(name, parameters, all, half)                                             \
    ssize_t name parameters                                                            \
    {                                                                                  \
        if (!fails(WRITES, fd))                                                        \
            return REAL(name) all;                                                     \
        if (errno == ENOSPC && size > 1 && plan->failed == 1)                          \
            return REAL(name) half;                                                    \
        return -1;                                                                     \
    }

WRITE(write, (int fd, const void *from, size_t size), (fd, from, size),
      (fd, from, size / 2))
WRITE(pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at),
      (fd, from, size / 2, at))
WRITE(pwrite64, (int fd, const void *from, size_t size, off64_t at),
      (fd, from, size, at), (fd, from, size / 2, at))

int ftruncate(int fd, off_t size)
{
    return fails(WRITES, fd) ? -1 : REAL(ftruncate)(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    return fails(WRITES, fd) ? -1 : REAL(ftruncate64)(fd, size);
}

int fsync(int fd)
{
    return fails(SYNCS, fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    return fails(SYNCS, fd) ? -1 : REAL(fdatasync)(fd);
}
