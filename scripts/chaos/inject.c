/* Faults for one process, by LD_PRELOAD: calls on the files of a database fail, write less, or hang; the wall
 * clock is shifted. Another process sets them while this one runs.
 *
 *   CHAOS_FILE     only files whose path begins with this are touched: a database, its -wal, -shm and -journal
 *   CHAOS_CONTROL  a file of SLOTS 64-bit integers, below
 *
 * Not reached: the index of the log (-shm) once it is mapped into memory, and the calls of the kernel that a page
 * fault makes. A mapped page cannot be made to fail from inside of the process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { KINDS, ERROR, SHORT, HANG_MS, FIRST, HOW_MANY, PER_10000, CLOCK_SECONDS, CALLS, HITS, SLOTS };
enum { OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, TRUNCATE = 16 };

static volatile long long *slots;
static const char *prefix;
static unsigned char ours[1 << 16];

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
    const char *control = getenv("CHAOS_CONTROL");
    prefix = getenv("CHAOS_FILE");
    if (!control || !prefix) return;
    REAL(open);
    int fd = real(control, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *mapped = mmap(NULL, SLOTS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED) slots = mapped;
}

static int is_ours(int fd) { return slots && fd >= 0 && fd < (1 << 16) && ours[fd]; }

static int named(const char *path) { return slots && prefix && !strncmp(path, prefix, strlen(prefix)); }

/* Whether this call is to be harmed. Numbers the calls of the armed kinds from 1. */
static int harmed(int kind) {
    if (!(slots[KINDS] & kind)) return 0;
    long long number = __atomic_add_fetch(&slots[CALLS], 1, __ATOMIC_SEQ_CST);
    long long first = slots[FIRST], until = first + slots[HOW_MANY];
    static __thread unsigned seed;
    if (!seed) seed = (unsigned)(size_t)&seed ^ (unsigned)getpid();
    int now = slots[PER_10000] ? rand_r(&seed) % 10000 < slots[PER_10000] : number >= first && number < until;
    if (now) __atomic_add_fetch(&slots[HITS], 1, __ATOMIC_SEQ_CST);
    return now;
}

/* Hangs if that is the fault. Returns the error to fail with; 0 if the call is to be carried out. */
static int fault(int kind) {
    if (!harmed(kind)) return 0;
    long long hang = slots[HANG_MS];
    /* In small steps, so that the fault ends when it is taken back. */
    for (; hang > 0 && slots[HANG_MS]; hang -= 10) {
        struct timespec step = {0, 10 * 1000 * 1000};
        nanosleep(&step, NULL);
    }
    return (int)slots[ERROR];
}

#define FAIL_OR(kind, fd, ...) \
    if (is_ours(fd)) { \
        int error = fault(kind); \
        if (error) { errno = error; return -1; } \
    } \
    return __VA_ARGS__

static int opened(int fd, const char *path) {
    if (fd >= 0 && fd < (1 << 16)) ours[fd] = named(path);
    return fd;
}

#define OPENS(name, parameters, arguments) \
    int name parameters { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        if (named(path)) { \
            int error = fault(OPEN); \
            if (error) { errno = error; return -1; } \
        } \
        return opened(real arguments, path); \
    }
OPENS(open, (const char *path, int flags, ...), (path, flags, mode))
OPENS(open64, (const char *path, int flags, ...), (path, flags, mode))
OPENS(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))
OPENS(openat64, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))

int close(int fd) {
    REAL(close);
    if (fd >= 0 && fd < (1 << 16)) ours[fd] = 0;
    return real(fd);
}

/* Half of the bytes, if calls are to be short. */
static size_t length(int kind, int fd, size_t bytes) {
    return is_ours(fd) && slots[SHORT] && bytes > 1 && harmed(kind) ? bytes / 2 : bytes;
}

#define MOVES(name, kind, constant, type) \
    ssize_t name(int fd, constant void *bytes, size_t count) { \
        REAL(name); \
        if (slots && slots[SHORT]) return real(fd, bytes, length(kind, fd, count)); \
        FAIL_OR(kind, fd, real(fd, bytes, count)); \
    }
#define MOVES_AT(name, kind, constant, type) \
    ssize_t name(int fd, constant void *bytes, size_t count, type at) { \
        REAL(name); \
        if (slots && slots[SHORT]) return real(fd, bytes, length(kind, fd, count), at); \
        FAIL_OR(kind, fd, real(fd, bytes, count, at)); \
    }
MOVES(read, READ, , )
MOVES(write, WRITE, const, )
MOVES_AT(pread, READ, , off_t)
MOVES_AT(pread64, READ, , off64_t)
MOVES_AT(pwrite, WRITE, const, off_t)
MOVES_AT(pwrite64, WRITE, const, off64_t)

int fsync(int fd) { REAL(fsync); FAIL_OR(SYNC, fd, real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); FAIL_OR(SYNC, fd, real(fd)); }
int ftruncate(int fd, off_t bytes) { REAL(ftruncate); FAIL_OR(TRUNCATE, fd, real(fd, bytes)); }
int ftruncate64(int fd, off64_t bytes) { REAL(ftruncate64); FAIL_OR(TRUNCATE, fd, real(fd, bytes)); }
int fallocate(int fd, int mode, off_t at, off_t bytes) {
    REAL(fallocate);
    FAIL_OR(TRUNCATE, fd, real(fd, mode, at, bytes));
}
/* Returns the error instead of setting it. */
int posix_fallocate(int fd, off_t at, off_t bytes) {
    REAL(posix_fallocate);
    int error = is_ours(fd) ? fault(TRUNCATE) : 0;
    return error ? error : real(fd, at, bytes);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int result = real(clock, now);
    if (!result && slots && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += slots[CLOCK_SECONDS];
    return result;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    REAL(gettimeofday);
    int result = real(now, zone);
    if (!result && slots) now->tv_sec += slots[CLOCK_SECONDS];
    return result;
}
time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}
