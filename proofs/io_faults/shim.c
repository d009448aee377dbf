/* Loaded with LD_PRELOAD: makes the k-th disk call below a directory fail, also calls of C
 * libraries such as LMDB. Does nothing until io_shim_set is called (faults.py does, by ctypes).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, TRUNCATE = 16 };
enum { ONCE, ON, AFTER, SHORT, AFTER_ON };

static char below[4096], only[64]; /* paths that count start with one and contain the other */
static char hit[4300];
static int kinds, error, mode;
static long at, calls;
static int first; /* this call is the k-th itself, not one that follows it */

void io_shim_set(const char *path, const char *part, int which, long k, int number, int how) {
    snprintf(below, sizeof below, "%s", path);
    snprintf(only, sizeof only, "%s", part);
    kinds = which, at = k, error = number, mode = how, calls = 0, hit[0] = 0;
}

const char *io_shim_hit(void) { return hit; } /* the first call that failed, or "" */

long io_shim_calls(void) { return calls; } /* how many could have failed so far */

static int counts(int kind, const char *name, const char *path) {
    if (!(kinds & kind) || strncmp(path, below, strlen(below)) || !strstr(path, only)) return 0;
    long number = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (number != at && !((mode == ON || mode == AFTER_ON) && number > at)) return 0;
    first = number == at;
    if (!hit[0]) snprintf(hit, sizeof hit, "%s %s", name, path);
    errno = error;
    return 1;
}

static int counts_fd(int kind, const char *name, int fd) {
    if (!(kinds & kind)) return 0;
    char link[40], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return counts(kind, name, path);
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

/* Calls on a descriptor. "After": it is done all the same, and then said to have failed. */
#define ON_FD(type, name, kind, parameters, arguments, shorter) \
    type name parameters { \
        REAL(type, #name, TYPES parameters); \
        if (!counts_fd(kind, #name, fd)) return real arguments; \
        int number = errno; \
        if (mode == SHORT) return shorter; \
        if (mode == AFTER || (mode == AFTER_ON && first)) { real arguments; errno = number; } \
        return -1; \
    }
#define TYPES(...) __VA_ARGS__

#define FAIL (errno = number, -1)
ON_FD(ssize_t, read, READ, (int fd, void *b, size_t n), (fd, b, n), FAIL)
ON_FD(ssize_t, pread, READ, (int fd, void *b, size_t n, off_t o), (fd, b, n, o), FAIL)
ON_FD(ssize_t, pread64, READ, (int fd, void *b, size_t n, off64_t o), (fd, b, n, o), FAIL)
ON_FD(ssize_t, preadv64v2, READ, (int fd, const struct iovec *v, int n, off64_t o, int f),
      (fd, v, n, o, f), FAIL)
ON_FD(ssize_t, write, WRITE, (int fd, const void *b, size_t n), (fd, b, n), real(fd, b, n / 2))
ON_FD(ssize_t, pwrite, WRITE, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o),
      real(fd, b, n / 2, o))
ON_FD(ssize_t, pwrite64, WRITE, (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o),
      real(fd, b, n / 2, o))
ON_FD(ssize_t, writev, WRITE, (int fd, const struct iovec *v, int n), (fd, v, n),
      write(fd, v[0].iov_base, v[0].iov_len / 2))
ON_FD(int, fsync, SYNC, (int fd), (fd), FAIL)
ON_FD(int, fdatasync, SYNC, (int fd), (fd), FAIL)
ON_FD(int, ftruncate, TRUNCATE, (int fd, off_t n), (fd, n), FAIL)
ON_FD(int, ftruncate64, TRUNCATE, (int fd, off64_t n), (fd, n), FAIL)

/* A path through /proc/self/fd/N, as the path that it stands for. */
static const char *meant(const char *path, char *buffer, size_t size) {
    int fd, rest = 0;
    if (sscanf(path, "/proc/self/fd/%d%n", &fd, &rest) != 1 || path[rest] != '/') return path;
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, size - 1);
    if (length < 0) return path;
    snprintf(buffer + length, size - length, "%s", path + rest);
    return buffer;
}

#define OPENING(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, #name, const char *, int, ...); \
        va_list list; \
        va_start(list, flags); \
        mode_t bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        char buffer[8192]; \
        if (counts(OPEN, #name, meant(path, buffer, sizeof buffer))) return -1; \
        return real(path, flags, bits); \
    }
OPENING(open)
OPENING(open64)
