"""A disk that fails at the n-th write below a folder: a library of a few lines before libc, so that all of Python,
SQLite and Rust meet it.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char below[1024];
static int left, error_number, broken;

int fault_arm(const char *folder, int n, int number) {
    strncpy(below, folder, sizeof below - 1);
    left = n; error_number = number; broken = 0;
    return 0;
}
int fault_broken(void) { return broken; }

/* once broken, a disk stays so: every later write fails as well */
static int fails(const char *path) {
    if (!below[0] || strncmp(path, below, strlen(below)) || strstr(path, "/log.txt")) return 0;
    if (__atomic_sub_fetch(&left, 1, __ATOMIC_SEQ_CST) > 0) return 0;
    broken = 1;
    errno = error_number;
    return 1;
}
static int fails_at(int file) {
    char link[64], path[1024];
    if (!below[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return fails(path);
}
#define NEXT(type, name) static type real; if (!real) real = (type)dlsym(RTLD_NEXT, name)
#define AT_FILE(result, name, arguments, ...) \
    result name arguments { typedef result (*call) arguments; NEXT(call, #name); \
        if (fails_at(file)) return -1; return real(__VA_ARGS__); }
AT_FILE(ssize_t, write, (int file, const void *data, size_t size), file, data, size)
AT_FILE(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), file, data, size, at)
AT_FILE(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), file, data, size, at)
AT_FILE(ssize_t, writev, (int file, const struct iovec *data, int count), file, data, count)
AT_FILE(int, fsync, (int file), file)
AT_FILE(int, fdatasync, (int file), file)
AT_FILE(int, ftruncate64, (int file, off64_t size), file, size)
int mkdir(const char *path, mode_t mode) {
    typedef int (*call)(const char *, mode_t); NEXT(call, "mkdir");
    return fails(path) ? -1 : real(path, mode);
}
int rename(const char *from, const char *to) {
    typedef int (*call)(const char *, const char *); NEXT(call, "rename");
    return fails(to) ? -1 : real(from, to);
}
"""


def build(folder: Path) -> Path:
    """Compile the library."""
    source, library = folder / "disk.c", folder / "disk.so"
    source.write_text(SOURCE)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@contextlib.contextmanager
def breaking(write: int, number: int, home: Path) -> Iterator[Callable[[], bool]]:
    """Have the `write`-th write below `home`, and all after it, fail with `number`; 0: none."""
    if not write:
        yield lambda: False
        return
    library = ctypes.CDLL(None)  # it was loaded before libc
    library.fault_arm(str(home).encode(), write, number)
    broken = []
    try:
        yield lambda: bool(broken[0])
    finally:
        broken.append(library.fault_broken())
        library.fault_arm(b"", 0, 0)
