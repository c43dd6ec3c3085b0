/* Loaded before libc: writes to files fail once so many bytes have been written. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static long left = -1; /* bytes that may still be written; below 0 as many as there are */
static int reason = ENOSPC;

void fail_after(long bytes, int error) {
    left = bytes;
    reason = error;
}

/* How many of n bytes may be written to a file; -1 for none. */
static ssize_t allowed(int file, size_t n) {
    struct stat status;
    if (left < 0 || file < 3 || fstat(file, &status) || !S_ISREG(status.st_mode)) return n;
    if (left == 0 && n > 0) {
        errno = reason;
        return -1;
    }
    if ((long)n > left) n = left;
    left -= n;
    return n;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *bytes, size_t n) {
    REAL(write);
    ssize_t some = allowed(file, n);
    return some < 0 ? some : real(file, bytes, some);
}

ssize_t pwrite(int file, const void *bytes, size_t n, off_t place) {
    REAL(pwrite);
    ssize_t some = allowed(file, n);
    return some < 0 ? some : real(file, bytes, some, place);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(writev);
    if (left < 0) return real(file, parts, count);
    return count ? write(file, parts[0].iov_base, parts[0].iov_len) : 0;
}

int fsync(int file) {
    REAL(fsync);
    if (left == 0) {
        errno = reason;
        return -1;
    }
    return real(file);
}
