/*
 * The clock of a program that is started with this library in LD_PRELOAD: it runs FAST_CLOCK_FACTOR times as fast as the
 * real one, from FAST_CLOCK_BASE on (seconds since the epoch). redis-server asks gettimeofday for what TIME answers, and
 * nothing else for the time of day.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  static double base, factor;
  (void)zone;
  if (factor == 0) {
    base = atof(getenv("FAST_CLOCK_BASE"));
    factor = atof(getenv("FAST_CLOCK_FACTOR"));
  }
  struct timeval real;
  syscall(SYS_gettimeofday, &real, NULL);
  double seconds = base + ((double)real.tv_sec - base + (double)real.tv_usec / 1e6) * factor;
  time->tv_sec = (time_t)seconds;
  time->tv_usec = (suseconds_t)((seconds - (double)time->tv_sec) * 1e6);
  return 0;
}
