/* A machine with a disk that hangs and a clock that is set, for the processes it is preloaded into.

   Every call that opens, reads, changes or syncs a file below one of the folders in HUNG_DISK (separated
   by colons, each ending in a slash) waits for as long as the file HUNG_DISK_WHILE exists, as on a
   network mount whose server is away, and then takes effect. Unix time is as many seconds off as
   the file CLOCK_STEP says. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int hung(void) {
    const char *flag = getenv("HUNG_DISK_WHILE");
    /* The bare system call: nothing of this file is entered again. */
    return flag && syscall(SYS_faccessat, AT_FDCWD, flag, F_OK) == 0;
}

static void hold(const char *path) {
    const char *below = getenv("HUNG_DISK");
    struct timespec pause = {0, 20000000};
    while (below && path && *below) {
        size_t length = strcspn(below, ":");
        if (length && strncmp(path, below, length) == 0) {
            while (hung()) nanosleep(&pause, NULL);
            return;
        }
        below += length + (below[length] == ':');
    }
}

static void hold_path(const char *path) {
    if (hung()) hold(path);
}

static void hold_file(int file) {
    char link[64], path[PATH_MAX];
    ssize_t length;
    if (!hung()) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    hold(path);
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t read(int file, void *data, size_t size) {
    REAL(read); hold_file(file); return real(file, data, size);
}
ssize_t pread(int file, void *data, size_t size, off_t at) {
    REAL(pread); hold_file(file); return real(file, data, size, at);
}
ssize_t pread64(int file, void *data, size_t size, off64_t at) {
    REAL(pread64); hold_file(file); return real(file, data, size, at);
}
ssize_t write(int file, const void *data, size_t size) {
    REAL(write); hold_file(file); return real(file, data, size);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    REAL(pwrite); hold_file(file); return real(file, data, size, at);
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    REAL(pwrite64); hold_file(file); return real(file, data, size, at);
}
int fsync(int file) { REAL(fsync); hold_file(file); return real(file); }
int fdatasync(int file) { REAL(fdatasync); hold_file(file); return real(file); }
int ftruncate(int file, off_t size) { REAL(ftruncate); hold_file(file); return real(file, size); }
int ftruncate64(int file, off64_t size) {
    REAL(ftruncate64); hold_file(file); return real(file, size);
}
int rename(const char *from, const char *to) {
    REAL(rename); hold_path(to); return real(from, to);
}
int unlink(const char *path) { REAL(unlink); hold_path(path); return real(path); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); hold_path(path); return real(path, mode); }

#define OPENING \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); \
    } \
    hold_path(path)

int open(const char *path, int flags, ...) {
    REAL(open); OPENING; return real(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    REAL(open64); OPENING; return real(path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    REAL(openat); OPENING; return real(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    REAL(openat64); OPENING; return real(folder, path, flags, mode);
}

static long step(void) {
    const char *path = getenv("CLOCK_STEP");
    char text[32];
    long file, length;
    if (!path) return 0;
    file = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    length = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    text[length > 0 ? length : 0] = 0;
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    REAL(clock_gettime);
    int failed = real(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += step();
    return failed;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
