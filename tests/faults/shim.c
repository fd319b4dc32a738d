/* A machine whose clock is set and whose disk is slow, for a process that is started with LD_PRELOAD.
 *
 * Both numbers stand in the file that FAULTS names, which tests change while the process runs. The clock that
 * counts since the start of the machine stays as it is: nobody can set that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct told { int64_t ahead_s, slow_ms; };
static const volatile struct told none, *told = &none;

__attribute__((constructor)) static void begin(void) {
  const char *name = getenv("FAULTS");
  int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *there = mmap(NULL, sizeof(struct told), PROT_READ, MAP_SHARED, file, 0);
  if (there != MAP_FAILED) told = there;
  close(file);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int done = real(clock, at);
  if (!done && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += told->ahead_s;
  return done;
}

int gettimeofday(struct timeval *at, void *zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}

/* Waits for as long as the disk is slow, in small steps, so that a test can end it; a log may be written. */
static void wait_for_disk(int file) {
  struct stat what;
  if (file <= 2 || !told->slow_ms || fstat(file, &what) || !S_ISREG(what.st_mode)) return;
  for (int64_t gone = 0; gone < told->slow_ms; gone += 10) usleep(10000);
}

#define SLOW(type, name, given, passed)                          \
  type name given {                                              \
    static type(*real) given;                                    \
    if (!real) real = dlsym(RTLD_NEXT, #name);                   \
    wait_for_disk(file);                                         \
    return real passed;                                          \
  }
SLOW(ssize_t, write, (int file, const void *from, size_t size), (file, from, size))
SLOW(ssize_t, pwrite, (int file, const void *from, size_t size, off_t at), (file, from, size, at))
SLOW(ssize_t, pwrite64, (int file, const void *from, size_t size, off64_t at), (file, from, size, at))
SLOW(int, fsync, (int file), (file))
SLOW(int, fdatasync, (int file), (file))
SLOW(int, ftruncate64, (int file, off64_t size), (file, size))
