/* A disk that fails as a test wants it to: preloaded before libc, steered through a file that the test has mapped, too.
 *
 * Of each kind of call on files whose path begins with `prefix` it keeps the number, and does what the plan says at the
 * `from`th and every `every`th after it (0: at no other). With `journal` set, it notes what was written, synced,
 * truncated, removed and renamed, in order, from which the test works out what would be left after a power cut.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PWRITE, WRITE, FDATASYNC, FSYNC, FTRUNCATE, UNLINK, FALLOCATE, RENAME, KINDS };
enum { NOTHING, FAIL, KILL, TEAR, DELAY };
enum { WRITTEN, SYNCED, SYNC_FAILED, CUT, REMOVED, RENAMED };

struct plan {
    uint64_t count, from, every, action;
    int64_t value; /* FAIL: the errno; DELAY: microseconds */
};

struct control {
    struct plan plans[KINDS];
    char prefix[1024];
    char journal[1024];
};

struct record {
    uint32_t what, path_bytes;
    uint64_t offset, length;
};

static struct control *control;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("DISK_CONTROL");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    control = mapped == MAP_FAILED ? NULL : mapped;
    close(file);
}

#define REAL(result, name, ...)                                       \
    static result (*real)(__VA_ARGS__);                               \
    if (!real)                                                        \
        real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static int is_ours(const char *path)
{
    return control && control->prefix[0] && strncmp(path, control->prefix, strlen(control->prefix)) == 0;
}

static int path_of(int file, char *path, size_t size)
{
    if (!control || !control->prefix[0])
        return 0;
    char link[64];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, size - 1);
    errno = before;
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_ours(path);
}

static void note(int what, const char *path, const void *data, uint64_t offset, uint64_t length)
{
    static int journal = -1;
    static pid_t owner;
    REAL(ssize_t, writev, int, const struct iovec *, int);
    if (!control->journal[0])
        return;
    if (owner != getpid()) {
        owner = getpid();
        journal = open(control->journal, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    }
    struct record record = {what, strlen(path), offset, length};
    struct iovec parts[] = {{&record, sizeof record}, {(void *)path, record.path_bytes}, {(void *)data, data ? length : 0}};
    if (real(journal, parts, 3) < 0)
        abort();
}

/* What the plan says to this call; counts it. */
static const struct plan *due(int kind)
{
    static const struct plan nothing;
    struct plan *plan = &control->plans[kind];
    uint64_t number = __atomic_add_fetch(&plan->count, 1, __ATOMIC_SEQ_CST);
    if (!plan->action || number < plan->from)
        return &nothing;
    if (number != plan->from && (!plan->every || (number - plan->from) % plan->every))
        return &nothing;
    if (plan->action == KILL)
        raise(SIGKILL);
    if (plan->action == DELAY) {
        struct timespec pause = {plan->value / 1000000, plan->value % 1000000 * 1000};
        nanosleep(&pause, NULL);
        return &nothing;
    }
    if (plan->action == FAIL)
        errno = plan->value;
    return plan;
}

ssize_t pwrite64(int file, const void *data, size_t length, off64_t offset)
{
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    char path[4096];
    if (!path_of(file, path, sizeof path))
        return real(file, data, length, offset);
    const struct plan *plan = due(PWRITE);
    if (plan->action == FAIL)
        return -1;
    if (plan->action == TEAR)
        length /= 2;
    ssize_t written = real(file, data, length, offset);
    if (written > 0)
        note(WRITTEN, path, data, offset, written);
    if (plan->action == TEAR)
        raise(SIGKILL);
    return written;
}

ssize_t pwrite(int file, const void *data, size_t length, off_t offset)
{
    return pwrite64(file, data, length, offset);
}

ssize_t write(int file, const void *data, size_t length)
{
    REAL(ssize_t, write, int, const void *, size_t);
    char path[4096];
    if (!path_of(file, path, sizeof path))
        return real(file, data, length);
    const struct plan *plan = due(WRITE);
    if (plan->action == FAIL)
        return -1;
    if (plan->action == TEAR)
        length /= 2;
    ssize_t written = real(file, data, length);
    if (written > 0)
        note(WRITTEN, path, data, lseek(file, 0, SEEK_CUR) - written, written);
    if (plan->action == TEAR)
        raise(SIGKILL);
    return written;
}

int open64(const char *path, int flags, ...)
{
    REAL(int, open64, const char *, int, ...);
    va_list rest;
    va_start(rest, flags);
    int file = real(path, flags, flags & O_CREAT ? va_arg(rest, mode_t) : 0);
    va_end(rest);
    if (file >= 0 && flags & O_TRUNC && is_ours(path))
        note(CUT, path, NULL, 0, 0);
    return file;
}

static int synced(int kind, int file, int (*sync)(int))
{
    char path[4096];
    if (!path_of(file, path, sizeof path))
        return sync(file);
    if (due(kind)->action == FAIL) {
        /* As Linux does: what could not be written counts as written from now on. */
        note(SYNC_FAILED, path, NULL, 0, 0);
        return -1;
    }
    int result = sync(file);
    if (result == 0)
        note(SYNCED, path, NULL, 0, 0);
    return result;
}

int fdatasync(int file)
{
    REAL(int, fdatasync, int);
    return synced(FDATASYNC, file, real);
}

int fsync(int file)
{
    REAL(int, fsync, int);
    return synced(FSYNC, file, real);
}

int ftruncate64(int file, off64_t length)
{
    REAL(int, ftruncate64, int, off64_t);
    char path[4096];
    if (!path_of(file, path, sizeof path))
        return real(file, length);
    if (due(FTRUNCATE)->action == FAIL)
        return -1;
    int result = real(file, length);
    if (result == 0)
        note(CUT, path, NULL, length, 0);
    return result;
}

int ftruncate(int file, off_t length)
{
    return ftruncate64(file, length);
}

int unlink(const char *path)
{
    REAL(int, unlink, const char *);
    if (!is_ours(path))
        return real(path);
    if (due(UNLINK)->action == FAIL)
        return -1;
    int result = real(path);
    if (result == 0)
        note(REMOVED, path, NULL, 0, 0);
    return result;
}

int rename(const char *from, const char *to)
{
    REAL(int, rename, const char *, const char *);
    if (!is_ours(from))
        return real(from, to);
    if (due(RENAME)->action == FAIL)
        return -1;
    int result = real(from, to);
    if (result == 0)
        note(RENAMED, from, to, 0, strlen(to));
    return result;
}

int posix_fallocate64(int file, off64_t offset, off64_t length)
{
    REAL(int, posix_fallocate64, int, off64_t, off64_t);
    char path[4096];
    if (path_of(file, path, sizeof path) && due(FALLOCATE)->action == FAIL)
        return errno;
    return real(file, offset, length);
}

int posix_fallocate(int file, off_t offset, off_t length)
{
    return posix_fallocate64(file, offset, length);
}
